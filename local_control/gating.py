"""Gating: control held inside the mask, by its features or by the predictions it leads to."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .masks import mask_on_grid


def gate_features(
    features: Sequence[Tensor | None],
    mask: Tensor,
    weights: Sequence[float] | None = None,
) -> list[Tensor | None]:
    """Return every feature map times the mask and its level's weight; inputs stay untouched.

    features [B,C,h,w] each (None stays None), mask [1 or B,1,H,W] in 0..1 -> the same shapes.
    `weights`: one factor for each feature that is not None, in order; all 1 if not given. A tensor
    that fills several slots is gated once and shared again.
    Source: the masked features of arXiv 2602.01991, section 3.
    """
    levels = sum(feature is not None for feature in features)
    if weights is None:
        weights = [1.0] * levels
    elif len(weights) != levels:
        raise ValueError(
            f"There are {len(weights)} level weights for {levels} feature maps; give one for each."
        )
    gates: dict[tuple[int, int], Tensor] = {}
    done: dict[tuple[int, float], Tensor] = {}
    remaining = iter(weights)
    out: list[Tensor | None] = []
    for feature in features:
        if feature is None:
            out.append(None)
            continue
        weight = next(remaining)
        key = (id(feature), weight)
        if key not in done:
            size = (feature.shape[-2], feature.shape[-1])
            if size not in gates:
                gates[size] = mask_on_grid(mask, size)
            done[key] = feature * (gates[size] * weight).to(feature)
        out.append(done[key])
    return out


def stays_finite(feature: Tensor, dtype: torch.dtype, factor: float = 1.0) -> bool:
    """Return whether a tensor is finite in a type, also when multiplied by up to `factor`."""
    return bool(feature.abs().amax().float() * factor <= torch.finfo(dtype).max)


def narrowest(*dtypes: torch.dtype) -> torch.dtype:
    """Return the type that holds the smallest range."""
    return min(dtypes, key=lambda dtype: torch.finfo(dtype).max)


def blend_predictions(with_control: Tensor, without: Tensor, mask: Tensor) -> Tensor:
    """Return the prediction with control inside the mask and the one without it outside.

    with_control, without [B,C,h,w] of the same z_t, mask [1 or B,1,H,W] in 0..1 at any size ->
    [B,C,h,w]. Bit-equal to `without` where the mask is 0 and to `with_control` where it is 1, so
    that features that were never gated act on nothing outside in this step.
    """
    grid = mask_on_grid(mask, (without.shape[-2], without.shape[-1]))
    return torch.lerp(without, with_control, grid.to(without))


def spread_weights(weights: Sequence[float] | None, count: int) -> list[float]:
    """Return a factor for each of `count` tensors: each weight for an equal share, in order."""
    if not weights:
        return [1.0] * count
    return [weights[i * len(weights) // count] for i in range(count)]
