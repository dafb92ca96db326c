"""Optimiser, learning rate and average of the weights."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.optimization import get_scheduler
from torch import nn

from ..config.optimiser_flags import OptimizerName


@dataclass(frozen=True)
class Stepping:
    """How steps are taken: an optimiser by its name, and what it is told.

    betas, epsilon: as AdamW means them; those that know no such thing are not told. fused: of
    AdamW.
    """

    optimizer: OptimizerName
    betas: tuple[float, float]
    weight_decay: float
    epsilon: float
    fused: bool = True

    def new(self, parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.Optimizer:
        """Return an optimiser; its learning rate is set again at every step.

        Raises:
            ImportError: its library is not there, which `check_machine` says in a sentence.
        """
        usual: dict[str, Any] = {"lr": rate, "weight_decay": self.weight_decay}
        adam = usual | {"betas": self.betas, "eps": self.epsilon}
        match self.optimizer:
            case "adamw":
                return torch.optim.AdamW(parameters, fused=self.fused, **adam)
            case "adafactor":
                return torch.optim.Adafactor(parameters, **usual)
            case "adamw_8bit":
                from bitsandbytes.optim import AdamW8bit  # pyright: ignore[reportMissingImports]

                return AdamW8bit(parameters, **adam)
            case "lion":
                from lion_pytorch import Lion  # pyright: ignore[reportMissingImports]

                return Lion(parameters, betas=self.betas, **usual)
            case "prodigy":
                from prodigyopt import Prodigy  # pyright: ignore[reportMissingImports]

                safe = {"use_bias_correction": True, "safeguard_warmup": True}
                return Prodigy(parameters, **adam, **safe)


@dataclass(frozen=True)
class LearningRate:
    """The learning rate of a run; a function of the step alone, so there is nothing to resume.

    schedule: diffusers' name of its shape. peak: what the warm-up rises to. steps: the whole run.
    cycles: how often a cosine starts again. power: of a polynomial.
    """

    schedule: str
    peak: float
    warmup: int
    steps: int
    cycles: int = 1
    power: float = 1.0

    def by_step(self) -> Callable[[int], float]:
        """Return step -> learning rate."""
        unused = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        scheduler: Any = get_scheduler(
            self.schedule,
            unused,
            num_warmup_steps=self.warmup,
            num_training_steps=self.steps,
            num_cycles=self.cycles,
            power=self.power,
        )
        factor = scheduler.lr_lambdas[0]
        # Warm-ups of the library start at 0, which would waste the first step.
        return lambda step: self.peak * factor(step + 1)


@torch.no_grad()
def update_ema(ema: nn.Module, model: nn.Module, step: int, decay: float) -> None:
    """Move the average towards the model; early on it follows faster."""
    rate = 1 - min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(ema.parameters()), list(model.parameters()), rate)
