"""Optimiser, learning rate and average of the weights."""

from collections.abc import Callable
from typing import Any

import torch
from diffusers.optimization import get_scheduler
from torch import nn

from local_control.adapter import Adapter

from ..config.run import TrainSettings


def new_optimizer(adapter: Adapter, settings: TrainSettings) -> torch.optim.Optimizer:
    """The optimiser that the settings name; its learning rate is set at every step."""
    options: dict[str, Any] = {
        "lr": settings.learning_rate,
        "betas": (settings.adam_beta1, settings.adam_beta2),
        "weight_decay": settings.adam_weight_decay,
        "eps": settings.adam_epsilon,
    }
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(adapter.parameters(), fused=settings.fused, **options)
    from bitsandbytes.optim import AdamW8bit  # pyright: ignore[reportMissingImports]

    return AdamW8bit(adapter.parameters(), **options)


def learning_rates(settings: TrainSettings) -> Callable[[int], float]:
    """step -> learning rate; a function of the step alone, so there is nothing to resume."""
    unused = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule: Any = get_scheduler(
        settings.lr_scheduler,
        unused,
        num_warmup_steps=settings.lr_warmup_steps,
        num_training_steps=settings.max_train_steps,
    )
    factor = schedule.lr_lambdas[0]
    # Warm-ups of the library start at 0, which would waste the first step.
    return lambda step: settings.learning_rate * factor(step + 1)


@torch.no_grad()
def update_ema(ema: nn.Module, model: nn.Module, step: int, decay: float) -> None:
    """Move the average towards the model; early on it follows faster."""
    rate = 1 - min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(ema.parameters()), list(model.parameters()), rate)
