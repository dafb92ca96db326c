"""Sheets: pictures side by side, with what the model saw and where the edges are."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from local_control.conditions import to_uint8

from ..data.condition import Condition
from .measures import edges_as


def tinted(image: Tensor, condition: Tensor, mask: Tensor) -> Tensor:
    """Return what the model sees: the picture darker outside the mask, the condition in green.

    image [3,H,W], condition [1 or 3,H,W], mask [1,H,W], all in 0..1 -> [3,H,W].
    """
    green = torch.tensor([0.2, 1.0, 0.2]).view(3, 1, 1)
    return torch.maximum(darkened(image, mask), condition.expand_as(image) * green)


def darkened(image: Tensor, mask: Tensor) -> Tensor:
    """Return pictures [...,3,H,W] that are darker outside their masks [...,1,H,W]."""
    return image * (0.35 + 0.65 * mask)


def edge_panel(image: Tensor, mask: Tensor, condition: Condition) -> Tensor:
    """Return the edges of one picture [3,H,W]: green inside the mask [1,H,W], red outside."""
    edges = edges_as(condition)(image[None])[0]
    inside = (mask >= 0.5).float()
    return torch.cat([edges * (1 - inside), edges * inside, torch.zeros_like(edges)])


# Heights of headings and the least and largest size of their letters, in pixels.
_BAND, _LEAST, _LARGEST = 20, 6, 13


def sheet(rows: list[list[Tensor]], headings: Sequence[str] = ()) -> np.ndarray:
    """Return pictures [3,H,W] in rows as one uint8 [H,W,3], under a heading for each column."""
    pictures = to_uint8(torch.cat([torch.cat(row, 2) for row in rows], 1))
    if not headings:
        return pictures
    widths = [picture.shape[2] for picture in rows[0]]
    bands = [_heading(text, width) for text, width in zip(headings, widths, strict=True)]
    return np.concatenate([np.concatenate(bands, 1), pictures])


def _heading(text: str, width: int) -> np.ndarray:
    """Return a text in the middle of a white band, in letters that fit or else cut off."""
    band = Image.new("RGB", (width, _BAND), "white")
    draw = ImageDraw.Draw(band)
    sizes = range(_LARGEST, _LEAST, -1)
    fonts = [ImageFont.load_default(size) for size in sizes]
    font = next((one for one in fonts if draw.textlength(text, one) <= width - 2), fonts[-1])
    left = max(1.0, (width - draw.textlength(text, font)) / 2)
    draw.text((left, _BAND / 2), text, "black", font, anchor="lm")
    return np.asarray(band)
