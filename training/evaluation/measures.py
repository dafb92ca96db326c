"""Adherence and freedom of sampled pictures, for validation and evaluation."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from local_control.conditions import to_uint8
from local_control.metrics import divergence, edge_match, leak

from ..data.condition import Condition


def quick_measures(
    image: Tensor, free: Tensor, source: Tensor, mask: Tensor, condition: Condition
) -> dict[str, Tensor]:
    """image with control, free without, source the true picture [B,3,H,W]; mask [B,1,H,W] -> [B].

    adherence: edge F1 inside at a tolerance of 2 px, or for colour 1 - the mean error of blocks.
    leak: NaN where there is no outside.
    """
    if condition.kind == "colour":
        adherence = 1 - divergence(condition(image), condition(source), mask)
    else:
        edges = _edges_as(condition)
        adherence = edge_match(edges(image), edges(source), mask).f1
    return {"adherence": adherence, "leak": leak(image, free, mask)}


def edge_panel(image: Tensor, mask: Tensor, condition: Condition) -> Tensor:
    """Edges of one picture [3,H,W]: green inside the mask [1,H,W], red outside -> [3,H,W]."""
    edges = _edges_as(condition)(image[None])[0]
    inside = (mask >= 0.5).float()
    return torch.cat([edges * (1 - inside), edges * inside, torch.zeros_like(edges)])


def _edges_as(condition: Condition) -> Condition:
    """Canny with the run's thresholds, whatever its adapter reads."""
    return replace(condition, kind="canny")


def tinted(image: Tensor, condition: Tensor, mask: Tensor) -> Tensor:
    """What the model sees: the picture [3,H,W], darker outside the mask, the condition on top."""
    shown = image * (0.35 + 0.65 * mask)
    green = torch.tensor([0.2, 1.0, 0.2]).view(3, 1, 1)
    return torch.maximum(shown, condition.expand_as(image) * green)


def sheet(rows: list[list[Tensor]]) -> np.ndarray:
    """Pictures [3,H,W] in rows -> one uint8 [H,W,3]."""
    return to_uint8(torch.cat([torch.cat(row, 2) for row in rows], 1))
