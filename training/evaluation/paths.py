"""Paths of gain against cost, point by point over strengths, and numbers read off along them."""

from dataclasses import dataclass

import numpy as np

from .intervals import Interval


@dataclass(frozen=True)
class Reading:
    """A number read off paths: its interval, and the share of resamples that have one."""

    value: Interval
    share: float = 1.0

    def __str__(self) -> str:
        if np.isnan(self.value.mean):
            return "not reached"
        rare = "" if self.share > 0.95 else f" (in {self.share:.0%} of resamples)"
        return f"{self.value}{rare}"


def gain_within(gain: np.ndarray, cost: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """Return the most gain that a path of straight pieces has at no more than a cost.

    gain and cost [R,S] of each path's points in order, limit [R] -> [R], NaN where every point of a
    path costs more. A point of which one of both is NaN is left out.
    """
    gain, cost = _without_gaps(gain, cost)
    limit = limit[:, None]
    (left, right), (below, above) = ((x[:, :-1], x[:, 1:]) for x in (cost, gain))
    crosses = (left <= limit) != (right <= limit)
    share = (limit - left) / np.where(crosses, right - left, 1)
    crossing = np.where(crosses, below + share * (above - below), -np.inf)
    points = np.where(cost <= limit, gain, -np.inf)
    best = np.concatenate([points, crossing], axis=1).max(1)
    return np.where(np.isfinite(best), best, np.nan)


def _without_gaps(gain: np.ndarray, cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Paths with the point before in place of one that is NaN; the first known one at the start."""
    known = ~(np.isnan(gain) | np.isnan(cost))
    before = np.maximum.accumulate(np.where(known, np.arange(known.shape[1]), -1), axis=1)
    index = np.where(before < 0, known.argmax(1)[:, None], before)
    return np.take_along_axis(gain, index, 1), np.take_along_axis(cost, index, 1)


def cost_reaching(gain: np.ndarray, cost: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Return the least cost at which a path has at least a gain; as `gain_within`."""
    return -gain_within(-cost, -gain, -level)


def resamples(pictures: int, count: int = 2000) -> np.ndarray:
    """Return draws of pictures with replacement [1 + count,N], the first of them the set itself."""
    drawn = np.random.default_rng(0).integers(pictures, size=(count, pictures))
    return np.concatenate([np.arange(pictures)[None], drawn])


def means(values: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Return the mean of what is not NaN for each draw: values [S,N], draws [R,N] -> [R,S]."""
    known = ~np.isnan(values)
    sums = np.where(known, values, 0)[:, drawn].sum(2)
    with np.errstate(invalid="ignore"):
        return (sums / known[:, drawn].sum(2)).T


def read_off(values: np.ndarray) -> Reading:
    """Return the number [R] of the set itself, which comes first, with that of its resamples."""
    mean, resampled = float(values[0]), values[1:]
    known = resampled[~np.isnan(resampled)]
    share = len(known) / len(resampled)
    if np.isnan(mean) or not len(known):
        return Reading(Interval(float("nan"), float("nan"), float("nan")), share)
    low, high = np.percentile(known, [2.5, 97.5])
    return Reading(Interval(mean, float(low), float(high)), share)
