"""Sheets: pictures side by side, with what the model saw and where the edges are."""

import numpy as np
import torch
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
    """Return a picture [3,H,W] that is darker outside the mask [1,H,W]."""
    return image * (0.35 + 0.65 * mask)


def edge_panel(image: Tensor, mask: Tensor, condition: Condition) -> Tensor:
    """Return the edges of one picture [3,H,W]: green inside the mask [1,H,W], red outside."""
    edges = edges_as(condition)(image[None])[0]
    inside = (mask >= 0.5).float()
    return torch.cat([edges * (1 - inside), edges * inside, torch.zeros_like(edges)])


def sheet(rows: list[list[Tensor]]) -> np.ndarray:
    """Return pictures [3,H,W] in rows as one uint8 [H,W,3]."""
    return to_uint8(torch.cat([torch.cat(row, 2) for row in rows], 1))
