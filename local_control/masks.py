"""Masks: layout, resizing to a grid, softening. Everywhere white (1) = controlled."""

import math
from enum import StrEnum

import torch
import torch.nn.functional as F
from kornia.filters import gaussian_blur2d
from torch import Tensor

# From here a mask counts as white where yes or no is asked: for its bounds, its outline, and
# whether it is black. What a JPEG of middling quality leaves beside a white shape is darker.
WHITE = 0.2


class MaskResize(StrEnum):
    """How a mask is brought to a smaller grid."""

    AREA = "area"  # the covered share of each cell; thin strokes stay as soft weights
    NEAREST = "nearest-exact"  # hard edges, within 0.7 px of their place
    MAX = "max"  # a cell counts as soon as any of its pixels does
    REFERENCE = "reference"  # the original work's plain nearest, which shifts by half a cell


def resize_mask(mask: Tensor, size: tuple[int, int], mode: MaskResize = MaskResize.AREA) -> Tensor:
    """Return a mask [B,1,H,W] in 0..1 at a size (h, w): [B,1,h,w] in 0..1."""
    match mode:
        case MaskResize.AREA:
            return F.interpolate(mask, size, mode="area")
        case MaskResize.NEAREST:
            return F.interpolate(mask, size, mode="nearest-exact")
        case MaskResize.MAX:
            return F.adaptive_max_pool2d(mask, size)
        case MaskResize.REFERENCE:
            return F.interpolate(mask, size, mode="nearest")


def mask_on_grid(mask: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return a mask [B,1,H,W] on the grid (h, w) of a denoiser's level or tokens: [B,1,h,w].

    Such grids have square cells that start at the frame's upper left corner and round up, so the
    last ones may stick out of the frame; there the mask goes on as at its border. A cell's side is
    the power of two that gives the grid; a grid that none gives divides the frame evenly.
    """
    height, width = mask.shape[-2:]
    sides = (2**power for power in range(max(height, width).bit_length() + 1))
    side = next((s for s in sides if (-(-height // s), -(-width // s)) == grid), 1)
    below, right = -height % side, -width % side
    if below or right:
        mask = F.pad(mask, (0, right, 0, below), mode="replicate")
    return resize_mask(mask, grid)


def has_white(mask: Tensor) -> Tensor:
    """Return whether each mask of a batch [B,1,H,W] is white somewhere, [B]."""
    return mask.amax((1, 2, 3)) >= WHITE


def erode(mask: Tensor, radius: int) -> Tensor:
    """Return white shrunk by `radius` pixels; the frame counts as white: a full mask stays full."""
    return -dilate(-mask, radius)


def dilate(mask: Tensor, radius: int) -> Tensor:
    """Return white grown by `radius` pixels in eight directions: along rows, then columns."""
    if radius <= 0:
        return mask
    side = 2 * radius + 1
    rows = F.max_pool2d(mask, (1, side), stride=1, padding=(0, radius))
    return F.max_pool2d(rows, (side, 1), stride=1, padding=(radius, 0))


def feather(mask: Tensor, radius: float) -> Tensor:
    """Return the mask rising from 0 at its border to 1 about `radius` pixels further in.

    mask [B,1,H,W] in 0..1 -> the same, nowhere above the mask, so that a soft region acts only
    where the hard one did. The frame of the picture is no border. Strokes thinner than the radius
    fade.
    """
    if radius <= 0:
        return mask
    kernel = 2 * math.ceil(1.5 * radius) + 1
    sigma = radius / 2
    blurred = gaussian_blur2d(mask, (kernel, kernel), (sigma, sigma), border_type="replicate")
    return torch.minimum(mask, (2 * blurred - 1).clamp(0, 1))
