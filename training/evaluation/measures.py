"""Adherence and freedom of sampled pictures, for validation."""

from dataclasses import replace

from torch import Tensor

from local_control.metrics import divergence, edge_match, leak

from ..data.condition import Condition


def quick_measures(
    image: Tensor, free: Tensor, source: Tensor, mask: Tensor, condition: Condition
) -> dict[str, Tensor]:
    """Return adherence and leak [B] of pictures [B,3,H,W] with control.

    free: without control; source: the true picture; mask [B,1,H,W]. adherence: edge F1 inside at a
    tolerance of 2 px, or for colour 1 - the mean error of blocks. leak: NaN where there is no
    outside.
    """
    if condition.kind == "colour":
        adherence = 1 - divergence(condition(image), condition(source), mask)
    else:
        edges = edges_as(condition)
        adherence = edge_match(edges(image), edges(source), mask).f1
    return {"adherence": adherence, "leak": leak(image, free, mask)}


def edges_as(condition: Condition) -> Condition:
    """Return Canny with the run's thresholds, whatever its adapter reads."""
    return replace(condition, kind="canny")
