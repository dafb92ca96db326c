"""Means with 95 % intervals over pictures, and paired differences."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap

from .table import Table

_RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval over pictures."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def interval(values: np.ndarray) -> Interval:
    """Return the bootstrap over pictures, with a fixed seed; NaN are left out."""
    values, mean = values[~np.isnan(values)], mean_of(values)
    if len(values) < 2 or np.ptp(values) == 0:
        return Interval(mean, mean, mean)
    rng = np.random.default_rng(0)
    found = bootstrap(
        (values,), np.mean, n_resamples=_RESAMPLES, method="percentile", rng=rng
    ).confidence_interval
    return Interval(mean, float(found.low), float(found.high))


def paired(table: Table, variant: str, reference: str, name: str) -> Interval:
    """Return the difference of two variants on the same pictures."""
    return interval(table.per_picture(variant, name) - table.per_picture(reference, name))


def mean_of(values: np.ndarray) -> float:
    """Return the mean of what is not NaN, NaN if nothing is."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")
