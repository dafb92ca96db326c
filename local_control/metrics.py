"""Adherence inside the mask and freedom outside, one value a sample.

Edge maps are [B,1,H,W] in 0..1, masks [B,1,H,W] with white (1) = controlled; a mask pixel counts
as inside from 0.5. LFMSE and DiffCC follow arXiv 2602.01991 and its released code when
`reference` is set; otherwise what is defective there is mended, as each docstring says.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from kornia.metrics import ssim
from torch import Tensor

from .masks import dilate, resize_mask

_BLUR = (11, 11)
_SIGMA = 5
_FACTOR = 8
# Blurred edges below this share of white are rounding, not edges: one 8-bit step is 0.004.
_SEEN = 0.02


def _low_frequency(edges: Tensor) -> Tensor:
    """Return edges blurred (11x11, sigma 5) and scaled down by 8, in OpenCV's 8-bit steps."""
    out = []
    for picture in edges:
        pixels = (picture[0].clamp(0, 1) * 255).round().byte().cpu().numpy()
        size = (pixels.shape[1] // _FACTOR, pixels.shape[0] // _FACTOR)
        out.append(cv2.resize(cv2.GaussianBlur(pixels, _BLUR, _SIGMA), size))
    return torch.from_numpy(np.stack(out)).unsqueeze(1).float().div(255).to(edges.device)


def _small_mask(mask: Tensor, size: tuple[int, int], reference: bool) -> Tensor:
    """Return the mask on the low-frequency grid; the reference takes OpenCV's nearest pixel."""
    if not reference:
        return resize_mask(mask, size)
    return mask[..., ::_FACTOR, ::_FACTOR][..., : size[0], : size[1]]


def _weighted(values: Tensor, weight: Tensor) -> Tensor:
    """Return weighted means over all but the batch; NaN where the weight is empty."""
    return (values * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3))


def lfmse(pred: Tensor, target: Tensor, mask: Tensor, reference: bool = False) -> dict[str, Tensor]:
    """Return the low-frequency squared error of edges: {"inside": [B], "outside": [B]}.

    inside: how far the edges are from the condition's (0 is best; compare with a blank picture).
    outside: how far they are from the condition's there, so that a copy of the whole condition
    gives 0 and a free picture more. The reference compares the outside with white, which measures
    how few edges there are at all, and resizes the mask by nearest.
    """
    pred, target = _low_frequency(pred), _low_frequency(target)
    inside = _small_mask(mask, (pred.shape[-2], pred.shape[-1]), reference)
    if reference:
        inside = (inside > 0).float()
    free_target = torch.ones_like(target) if reference else target
    return {
        "inside": _weighted((pred - target).square(), inside),
        "outside": _weighted((pred - free_target).square(), 1 - inside),
    }


def diffcc(
    pred: Tensor, target: Tensor, mask: Tensor, reference: bool = False
) -> dict[str, Tensor]:
    """Return coincidence and hallucination of low-frequency edges, shares in 0..1, each [B].

    coincidence: the share of the condition's edge cells inside that the picture reaches.
    hallucination_inside, _outside: the share of cells with more edge than the condition has
    (inside), or with any (outside). The reference counts differences of a single grey level; here
    a difference counts from 2 % of white, and an inside without edges is NaN, not a division by 0.
    """
    seen = 0.0 if reference else _SEEN
    pred, target = _low_frequency(pred), _low_frequency(target)
    inside = _small_mask(mask, (pred.shape[-2], pred.shape[-1]), reference)
    inside = (inside > (0 if reference else 0.5)).float()
    difference = (target - pred) * inside

    def count(hits: Tensor) -> Tensor:
        return hits.float().sum((1, 2, 3))

    edges_inside = count((target * inside) > seen)
    missed = count((difference > seen) & ((target * inside) > seen))
    return {
        "coincidence": 1 - missed / edges_inside,
        "hallucination_inside": count(difference < -seen) / count(inside > 0),
        "hallucination_outside": count(pred * (1 - inside) > seen) / count(inside == 0),
    }


@dataclass(frozen=True)
class EdgeMatch:
    """Edges that agree within a tolerance: precision, recall and their F1, each [B]."""

    precision: Tensor
    recall: Tensor
    f1: Tensor


def edge_match(pred: Tensor, target: Tensor, mask: Tensor, tolerance: int = 2) -> EdgeMatch:
    """Return edge precision, recall and F1 inside the mask; edges match within `tolerance` px.

    The partner of an edge may lie just outside the mask. Two empty maps agree in full (1); one
    empty map scores 0; where nothing is inside, there is nothing to score (NaN).
    """
    pred, target, inside = (x >= 0.5 for x in (pred, target, mask))
    near_target = dilate(target.float(), tolerance) > 0
    near_pred = dilate(pred.float(), tolerance) > 0
    empty = ~inside.any((1, 2, 3))

    def share(hit: Tensor, of: Tensor, other: Tensor) -> Tensor:
        total = of.sum((1, 2, 3))
        nothing = (other.sum((1, 2, 3)) == 0).float()
        found = torch.where(total > 0, (hit & of).sum((1, 2, 3)) / total.clamp(min=1), nothing)
        return found.masked_fill(empty, torch.nan)

    pred_in, target_in = pred & inside, target & inside
    precision = share(near_target, pred_in, target_in)
    recall = share(near_pred, target_in, pred_in)
    both = precision + recall
    f1 = torch.where(both > 0, 2 * precision * recall / both.clamp(min=1e-12), both)
    return EdgeMatch(precision, recall, f1)


def masked_ssim(a: Tensor, b: Tensor, mask: Tensor, window: int = 11) -> Tensor:
    """Return the mean SSIM [B] of two images [B,C,H,W] in 0..1 over the mask; 1 is equal."""
    return _weighted(ssim(a, b, window).mean(1, keepdim=True), mask)


def divergence(a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    """Return the mean absolute difference [B] of two images [B,C,H,W] over the mask."""
    return _weighted((a - b).abs().mean(1, keepdim=True), mask)


def leak(controlled: Tensor, free: Tensor, mask: Tensor) -> Tensor:
    """Return mean change outside the mask over that inside, [B]; 0: no leak, 1: not local.

    controlled, free: images [B,C,H,W] of the same seed with and without control.
    """
    inside = divergence(controlled, free, mask)
    return divergence(controlled, free, 1 - mask) / inside.clamp(min=1e-6)
