"""How a run computes, not what: precision, kernels, processes and trackers of accelerate."""

from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import GradientAccumulationPlugin

from ..config.processes import on_cpu
from ..config.run import TrainSettings


def accelerator_of(settings: TrainSettings) -> Accelerator:
    """Return accelerate's object for a run, its trackers begun."""
    tracker = None if settings.report_to == "none" else settings.report_to
    accelerator = Accelerator(
        cpu=on_cpu(),
        mixed_precision=settings.mixed_precision,
        # As a plugin, since a number of steps would give way to one of accelerate's own config,
        # and gradients would be divided by it.
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=settings.gradient_accumulation_steps
        ),
        log_with=tracker,
        project_dir=settings.logging_dir or settings.output_dir / "logs",
    )
    if tracker is not None:
        flat = {key: str(value) for key, value in settings.resolved().items()}
        accelerator.init_trackers(settings.tracker_project_name, flat)
    return accelerator


def choose_kernels(unet: Any, settings: TrainSettings) -> None:
    """Set how a UNet, and all else in the process, computes."""
    if settings.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    if settings.channels_last:
        unet.to(memory_format=torch.channels_last)
    if settings.torch_compile:
        unet.compile()
    if settings.allow_tf32:
        torch.backends.cuda.matmul.allow_tf32 = True
    if settings.deterministic:
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
