"""Optimiser, learning rate and average of the weights."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.optimization import get_scheduler
from torch import nn


@dataclass(frozen=True)
class AdamOptions:
    """How AdamW takes its steps; `bits8` keeps its moments in 8 bits, by bitsandbytes."""

    betas: tuple[float, float]
    weight_decay: float
    epsilon: float
    fused: bool = True
    bits8: bool = False

    def new(self, parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.Optimizer:
        """Return an optimiser; its learning rate is set again at every step."""
        options: dict[str, Any] = {
            "lr": rate,
            "betas": self.betas,
            "weight_decay": self.weight_decay,
            "eps": self.epsilon,
        }
        if not self.bits8:
            return torch.optim.AdamW(parameters, fused=self.fused, **options)
        from bitsandbytes.optim import AdamW8bit  # pyright: ignore[reportMissingImports]

        return AdamW8bit(parameters, **options)


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
