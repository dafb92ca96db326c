"""A region as its node shows it."""

import numpy as np
import torch
from torch import Tensor

from .cards import draw_card
from .drawing import COLOURS, colour_of, draw_outline

_DIM = 0.35  # of the condition outside
_TINT = 0.25  # of the region's colour inside
_TITLE = 0.6  # of the colour behind a title, which is white


def draw_region(condition: Tensor, mask: Tensor, number: int, words: str) -> Tensor:
    """Return the first condition over words, dimmed but for the region with its colour and border.

    condition [B,1 or 3,H,W] and mask [B,1,H,W] in 0..1, number from 1 -> [1,3,h,w]
    """
    lines, inside = condition[:1, :3].expand(-1, 3, -1, -1), mask[:1]
    colour = colour_of(number - 1).view(1, 3, 1, 1)
    tinted = torch.maximum(lines, _TINT * colour.expand_as(lines))
    ground = _DIM * lines * (1 - inside) + tinted * inside
    canvas = np.ascontiguousarray((ground[0].clamp(0, 1).movedim(0, -1) * 255).byte().numpy())
    draw_outline(canvas, inside[0, 0].numpy(), number - 1, max(1, min(canvas.shape[:2]) // 128))
    return draw_card(torch.from_numpy(canvas).movedim(-1, 0).float().div(255)[None], words)


def hex_of(number: int) -> str:
    """Return the colour for the title of a region, counted from 1, as browsers write it."""
    colour = (round(_TITLE * part) for part in COLOURS[(number - 1) % len(COLOURS)])
    return "#{:02x}{:02x}{:02x}".format(*colour)
