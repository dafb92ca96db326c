"""Gating: control features times the mask at their own resolution."""

from collections.abc import Sequence

from torch import Tensor

from .masks import MaskResize, resize_mask, to_tokens


def gate_features(
    features: Sequence[Tensor | None],
    mask: Tensor,
    weights: Sequence[float] | None = None,
    mode: MaskResize = MaskResize.AREA,
) -> list[Tensor | None]:
    """Multiply every feature map by the mask and by its level's weight; inputs stay untouched.

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
                gates[size] = resize_mask(mask, size, mode)
            done[key] = feature * (gates[size] * weight).to(feature)
        out.append(done[key])
    return out


def gate_tokens(
    tokens: Tensor, mask: Tensor, grid: tuple[int, int], mode: MaskResize = MaskResize.AREA
) -> Tensor:
    """Multiply a sequence of image tokens by the mask on the token grid.

    tokens [B,T,C], mask [1 or B,1,H,W], grid (rows, columns) with rows * columns = T -> [B,T,C].
    """
    if tokens.shape[1] != grid[0] * grid[1]:
        raise ValueError(
            f"There are {tokens.shape[1]} image tokens, but a grid of {grid[0]} x {grid[1]} has "
            f"{grid[0] * grid[1]}."
        )
    return tokens * to_tokens(resize_mask(mask, grid, mode)).to(tokens)
