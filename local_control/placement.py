"""Putting a picture into the bounds of a mask, at whatever size it comes."""

from enum import StrEnum

import torch
import torch.nn.functional as F
from torch import Tensor

from .masks import WHITE


class Fit(StrEnum):
    """Where a condition goes."""

    FRAME = "frame"  # over the whole frame; it must be as large as the mask
    CONTAIN = "contain"  # all of it inside the mask's bounds, centred
    COVER = "cover"  # filling the mask's bounds, centred and cut
    STRETCH = "stretch"  # exactly the mask's bounds


def bounds(mask: Tensor) -> tuple[int, int, int, int]:
    """Return (top, left, bottom, right) of what is white in a mask [1,H,W], ends exclusive.

    Raises:
        ValueError: nothing is.
    """
    white = mask[0] >= WHITE
    rows, columns = white.any(1).nonzero(), white.any(0).nonzero()
    if not len(rows):
        raise ValueError("The mask is all black or nearly so, and has no bounds.")
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def place(picture: Tensor, mask: Tensor, fit: Fit) -> Tensor:
    """Return the picture within the mask's bounds, and black elsewhere.

    picture [1 or B,C,h,w], mask [1 or B,1,H,W] -> [1 or B,C,H,W].

    Raises:
        ValueError: there are other numbers of pictures and masks, or a mask is black.
    """
    count = max(len(picture), len(mask))
    if len(picture) not in (1, count) or len(mask) not in (1, count):
        raise ValueError(
            f"There are {len(picture)} pictures for {len(mask)} masks; give one picture for all, "
            f"or one for each mask."
        )
    placed = [
        _place_one(picture[min(i, len(picture) - 1)], mask[min(i, len(mask) - 1)], fit)
        for i in range(count)
    ]
    return torch.stack(placed)


def _place_one(picture: Tensor, mask: Tensor, fit: Fit) -> Tensor:
    top, left, bottom, right = bounds(mask)
    height, width = bottom - top, right - left
    down, across = height / picture.shape[-2], width / picture.shape[-1]
    if fit is Fit.CONTAIN:
        down = across = min(down, across)
    elif fit is Fit.COVER:
        down = across = max(down, across)
    size = (max(1, round(picture.shape[-2] * down)), max(1, round(picture.shape[-1] * across)))
    scaled = _resize(picture[None], size)[0]
    # The part of the scaled picture that lies inside the bounds, centred.
    cut = [max(0, s - b) // 2 for s, b in zip(size, (height, width), strict=True)]
    scaled = scaled[:, cut[0] : cut[0] + height, cut[1] : cut[1] + width]
    y = top + (height - scaled.shape[-2]) // 2
    x = left + (width - scaled.shape[-1]) // 2
    out = picture.new_zeros(picture.shape[0], *mask.shape[-2:])
    out[:, y : y + scaled.shape[-2], x : x + scaled.shape[-1]] = scaled
    return out


def _resize(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a picture made smaller by area, so that no line is lost, or larger bilinearly."""
    if size == tuple(picture.shape[-2:]):
        return picture
    if size[0] <= picture.shape[-2] and size[1] <= picture.shape[-1]:
        return F.interpolate(picture, size, mode="area")
    return F.interpolate(picture, size, mode="bilinear", antialias=True)
