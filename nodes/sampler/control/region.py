"""What every region has, whatever its control: where, on what, how strongly, when and on whom."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from ....local_control.region_mask import RegionMask

_CURVE_POINTS = 65
_HALVINGS = 16  # of the range of shares, in search of one


@dataclass(frozen=True, kw_only=True)
class Region:
    """Where, on what, how strongly and when a control acts.

    condition [1 or B,C,H,W] in 0..1; mask: where it acts; blend: where any region of its Apply node
    does, if predictions with and without them are blended by that, or None; percent_range: share of
    the sampling, start to end; curve: factors of the strength, evenly from start to end;
    level_weights: factors of the control's tensors, or None; acts_on: prompts; number: its place in
    the list, or 0 in none.
    """

    condition: Tensor
    mask: RegionMask = field(default_factory=RegionMask.everywhere)
    blend: RegionMask | None = None
    strength: float = 1.0
    percent_range: tuple[float, float] = (0.0, 1.0)
    curve: tuple[float, ...] = (1.0,)
    level_weights: tuple[float, ...] | None = None
    acts_on: frozenset[str] = frozenset(("positive", "negative"))
    number: int = 1

    @property
    def gate(self) -> RegionMask:
        """Return what the features are multiplied by: the mask, or all but the other regions.

        Where predictions are blended, features need not stop at the region's border.
        """
        if self.blend is None:
            return self.mask
        return RegionMask((1 - (self.blend.white - self.mask.white)).clamp(0, 1))


def sigma_at(percent: float, percent_to_sigma: Callable[[float], float]) -> float:
    """Return the noise level at a share 0..1 of the sampling, rounded to fp32 as samplers have it.

    A step that is right there must be found.
    """
    return float(np.float32(percent_to_sigma(percent)))


def percent_at(sigma: float, percent_to_sigma: Callable[[float], float]) -> float:
    """Return the share of the sampling, 0 to 1, at which the noise level is `sigma`."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if percent_to_sigma(middle) > sigma else (low, middle)
    return (low + high) / 2


class Timing:
    """When a region acts in one sampling, and by which factor."""

    def __init__(self, region: Region, percent_to_sigma: Callable[[float], float]) -> None:
        start, end = region.percent_range
        self._start, self._end = (sigma_at(share, percent_to_sigma) for share in (start, end))
        self._curve = region.curve
        self.is_constant = len(region.curve) == 1
        if len(region.curve) > 1:
            shares = np.linspace(0, 1, _CURVE_POINTS)
            at = np.linspace(0, 1, len(region.curve))
            sigmas = [percent_to_sigma(start + share * (end - start)) for share in shares]
            # Sigmas fall, and interpolation wants them to rise.
            self._sigmas = np.asarray(sigmas, float)[::-1]
            self._factors = np.interp(shares, at, region.curve)[::-1]

    def acts(self, sigma: float) -> bool:
        """Return whether the region acts at a noise level."""
        return self._end <= sigma <= self._start

    def factor(self, sigma: float) -> float | None:
        """Return the factor of the strength at a noise level, or None when the region is not on."""
        if not self.acts(sigma):
            return None
        if self.is_constant:
            return self._curve[0]
        return float(np.interp(sigma, self._sigmas, self._factors))
