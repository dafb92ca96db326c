"""Frontiers: what adherence costs the outside, over an adapter's strengths.

At one strength an adapter that acts more looks better at adherence and worse at freedom. Along the
frontier two can be told apart: by adherence at equal cost and by cost at equal adherence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .intervals import Interval, interval, mean_of, paired
from .paths import Reading, cost_reaching, gain_within, means, read_off, resamples
from .scores import DIRECT, PERCEPTUAL, SCORES
from .table import Table

JUDGED = "prompt following"
_COSTS = ("leak", "change outside", PERCEPTUAL)


@dataclass(frozen=True)
class Curve:
    """One way to control: `variants`, those of a table by their strength, in rising order."""

    name: str
    variants: Mapping[float, str]


@dataclass(frozen=True)
class Comparison:
    """A curve beside the reference, which has one strength.

    gain: adherence at no more than the reference's cost. price: the least cost at no less than the
    reference's adherence. Both with the difference to the reference's own frontier.
    """

    curve: str
    cost: str
    gain: Reading
    gain_difference: Reading
    price: Reading
    price_difference: Reading


@dataclass(frozen=True)
class Frontier:
    """Curves of one table and how they are compared.

    adherence: the score that counts as following. strength: of the first curve, the reference,
    which says what cost and what adherence the others are compared at. best: each curve's best
    strength, by its name, where other pictures than these have told it.
    """

    table: Table
    curves: Sequence[Curve]
    adherence: str
    strength: float = 1.0
    best: Mapping[str, float] = field(default_factory=dict)

    @property
    def reference(self) -> Curve:
        """Return the curve that the others are compared with."""
        return self.curves[0]

    def costs(self) -> list[str]:
        """Return the scores that adherence is held against."""
        return [name for name in _COSTS if name in self._known()]

    def shown(self) -> list[str]:
        """Return the scores of a point: adherence, costs, and prompt following if it was judged."""
        more = [name for name in (DIRECT, JUDGED) if name in self._known()]
        return [self.adherence, *self.costs(), *more]

    def best_strengths(self) -> dict[str, float]:
        """Return each curve's strength of the best mean adherence on these pictures."""
        return {
            curve.name: max(curve.variants, key=dict(self._mean_gains(curve)).__getitem__)
            for curve in self.curves
        }

    def point(self, curve: Curve, strength: float) -> dict[str, Interval]:
        """Return the shown scores of one point."""
        variant = curve.variants[strength]
        return {name: interval(self.table.per_picture(variant, name)) for name in self.shown()}

    def differences(self, curve: Curve, strengths: Mapping[str, float]) -> dict[str, Interval]:
        """Return shown scores of a curve less those of the reference, each at its strength."""
        own, other = (c.variants[strengths[c.name]] for c in (curve, self.reference))
        return {name: paired(self.table, own, other, name) for name in self.shown()}

    def compare(self, curve: Curve, cost: str) -> Comparison:
        """Return a curve beside the reference, at the reference's cost and at its adherence."""
        at = list(self.reference.variants).index(self.strength)
        drawn = resamples(len(set(self.table.groups)))
        own, other = (
            (means(self._gains(c), drawn), means(self._values(c, cost), drawn))
            for c in (curve, self.reference)
        )
        level, limit = (values[:, at] for values in other)
        gains = [self._sign * gain_within(*path, limit) for path in (own, other)]
        prices = [cost_reaching(*path, level) for path in (own, other)]
        return Comparison(
            curve.name,
            cost,
            read_off(gains[0]),
            read_off(gains[0] - gains[1]),
            read_off(prices[0]),
            read_off(prices[0] - prices[1]),
        )

    def _known(self) -> set[str]:
        return set(self.table.scores[next(iter(self.reference.variants.values()))])

    @property
    def _sign(self) -> int:
        return 1 if SCORES[self.adherence] else -1

    def _values(self, curve: Curve, score: str) -> np.ndarray:
        """A score by strength and picture [S,N]."""
        return np.stack([self.table.per_picture(v, score) for v in curve.variants.values()])

    def _gains(self, curve: Curve) -> np.ndarray:
        """Adherence as more is better."""
        return self._sign * self._values(curve, self.adherence)

    def _mean_gains(self, curve: Curve) -> list[tuple[float, float]]:
        gains = self._gains(curve)
        return [(s, mean_of(own)) for s, own in zip(curve.variants, gains, strict=True)]
