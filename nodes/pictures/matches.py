"""Edges of a picture beside those that were wanted."""

import torch
from torch import Tensor

from ...local_control.masks import dilate


def match_map(pred: Tensor, target: Tensor, mask: Tensor, tolerance: int = 2) -> Tensor:
    """Return a picture [B,3,H,W] in 0..1 of what `edge_match` counts.

    Inside the mask edges that match are green, missing ones red and invented ones blue; outside
    they are gray. The mask is lighter than the rest.
    """
    pred, target, inside = ((x >= 0.5).float() for x in (pred, target, mask))
    near_target, near_pred = dilate(target, tolerance), dilate(pred, tolerance)
    matched = torch.maximum(pred * near_target, target * near_pred) * inside
    missing = target * (1 - near_pred) * inside
    invented = pred * (1 - near_target) * inside
    outside = pred * (1 - inside) * 0.4
    ground = 0.1 * inside
    layers = [missing, matched, invented]
    drawn = torch.cat([torch.maximum(layer, outside) for layer in layers], 1)
    return torch.maximum(drawn, ground.expand_as(drawn))
