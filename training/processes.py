"""The processes of a run: one, or those that `accelerate launch` started."""

import torch
from accelerate import PartialState


def on_cpu() -> bool:
    """Whether there is nothing faster. Accelerate joins CPU processes only if it is told so."""
    return not torch.accelerator.is_available()


def process_state() -> PartialState:
    """The current process among its peers, and its device."""
    return PartialState(cpu=on_cpu())
