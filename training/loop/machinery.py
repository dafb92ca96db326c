"""How a run computes, not what: precision, kernels, processes and trackers of accelerate."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import GradientAccumulationPlugin, patch_environment

from ..config.processes import FSDP, on_cpu


def new_accelerator(
    mixed_precision: str, accumulation: int, tracker: str | None, folder: Path
) -> Accelerator:
    """Return accelerate's object for a run.

    accumulation: micro-batches of a step. tracker: name of one, or "all". folder: of what trackers
    write.
    """
    with patch_environment(**{FSDP: "false"}):  # it is for the base, and this for what is trained
        return Accelerator(
            cpu=on_cpu(),
            mixed_precision=mixed_precision,
            # As a plugin, since a number of steps would give way to one of accelerate's own config,
            # and gradients would be divided by it.
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=accumulation),
            log_with=tracker,
            project_dir=folder,
        )


@dataclass(frozen=True)
class Kernels:
    """How a UNet, and all else in the process, computes.

    recompute: features again in the backward pass, which saves memory.
    """

    recompute: bool
    channels_last: bool
    compiled: bool
    tf32: bool
    deterministic: bool

    def choose(self, unet: Any) -> None:
        """Make a UNet of diffusers, and torch, compute so."""
        if self.recompute:
            unet.enable_gradient_checkpointing()
        if self.channels_last:
            unet.to(memory_format=torch.channels_last)
        if self.compiled:
            unet.compile()
        if self.tf32:
            torch.backends.cuda.matmul.allow_tf32 = True
        if self.deterministic:
            torch.use_deterministic_algorithms(True)
            torch.backends.cudnn.deterministic = True
            torch.backends.cudnn.benchmark = False
