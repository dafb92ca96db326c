"""Several regions: what happens where they overlap."""

from enum import StrEnum

import torch
from torch import Tensor


class Overlap(StrEnum):
    """How the masks of several regions share a pixel."""

    ADD = "add"  # every region acts in full
    NORMALISE = "normalise"  # together they act as one: masks are divided by their sum above 1
    PRIORITY = "priority"  # an earlier region hides the later ones


def resolve_overlap(masks: Tensor, rule: Overlap) -> Tensor:
    """masks [N,B,1,H,W] in 0..1, in order of the regions -> the masks that act, same shape."""
    match rule:
        case Overlap.ADD:
            return masks
        case Overlap.NORMALISE:
            return masks / masks.sum(0, keepdim=True).clamp(min=1)
        case Overlap.PRIORITY:
            free = torch.cumprod(1 - masks, dim=0)
            before = torch.cat([torch.ones_like(free[:1]), free[:-1]])
            return masks * before
