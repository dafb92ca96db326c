"""Several regions: what happens where they overlap."""

from collections.abc import Sequence
from enum import StrEnum

import torch
from torch import Tensor

from .masks import resize_mask

# By how much shapes of frames may differ: pictures are scaled to whole pixels.
_SAME_SHAPE = 0.01


class Overlap(StrEnum):
    """How the masks of several regions share a pixel."""

    ADD = "add"  # every region acts in full
    NORMALISE = "normalise"  # together they act as one: masks are divided by their sum above 1
    PRIORITY = "priority"  # an earlier region hides the later ones


def align_masks(masks: Sequence[Tensor]) -> Tensor:
    """Return masks [1 or B,1,H,W] of any size as one tensor [N,B,1,H,W] of the largest.

    Raises:
        ValueError: they are of frames of different shapes, or for batches of different sizes.
    """
    height, width = (max(mask.shape[side] for mask in masks) for side in (-2, -1))
    batch = max(len(mask) for mask in masks)
    for number, mask in enumerate(masks, 1):
        if len(mask) not in (1, batch):
            raise ValueError(
                f"Region {number} has {len(mask)} masks and another one {batch}; where regions "
                f"share or hide, or the outside is exact, give each one mask for all latents, or "
                f"one for each latent."
            )
        if abs(mask.shape[-1] * height / (mask.shape[-2] * width) - 1) > _SAME_SHAPE:
            raise ValueError(
                f"The mask of region {number} is {mask.shape[-1]} x {mask.shape[-2]}, but the "
                f"largest sides of all are {width} x {height}; where regions share or hide, or "
                f"the outside is exact, give all masks the shape of the image."
            )
    return torch.stack(
        [resize_mask(mask, (height, width)).expand(batch, -1, -1, -1) for mask in masks]
    )


def resolve_overlap(masks: Tensor, rule: Overlap) -> Tensor:
    """Return the masks that act, [N,B,1,H,W] in 0..1 as given, in the order of the regions."""
    match rule:
        case Overlap.ADD:
            return masks
        case Overlap.NORMALISE:
            return masks / masks.sum(0, keepdim=True).clamp(min=1)
        case Overlap.PRIORITY:
            free = torch.cumprod(1 - masks, dim=0)
            before = torch.cat([torch.ones_like(free[:1]), free[:-1]])
            return masks * before
