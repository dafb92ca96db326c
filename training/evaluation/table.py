"""Scores of variants on the same cases: gathered, joined, kept as JSON."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.files import write_whole

Scores = dict[str, dict[str, list[float]]]


@dataclass
class Table:
    """Scores of variants on the same cases. `groups`: the picture of each case.

    blank: LFMSE inside of a picture without edges, by case. bounds: scores of pictures that nothing
    samples, which tell how high and low a score can be. stamps: by variant, what its scores
    depend on, where that is kept. about: base, adapters and settings. pictures: by variant, for
    the sheet, of the cases `shown`.
    """

    groups: list[str]
    scores: Scores = field(default_factory=dict)
    sets: dict[str, dict[str, float]] = field(default_factory=dict)
    blank: Tensor = field(default_factory=lambda: torch.zeros(0))
    bounds: Scores = field(default_factory=dict)
    stamps: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, list[Tensor]] = field(default_factory=dict)

    def add(self, variant: str, found: Mapping[str, Tensor]) -> None:
        """Append the scores of some cases."""
        _append(self.scores.setdefault(variant, {}), found)

    def add_bound(self, bound: str, found: Mapping[str, Tensor]) -> None:
        """Append the scores of a bound on some cases."""
        _append(self.bounds.setdefault(bound, {}), found)

    def add_set(self, variant: str, name: str, value: float) -> None:
        """A number of all pictures together."""
        self.sets.setdefault(variant, {})[name] = value

    def merge(self, other: "Table") -> None:
        """Take over the variants of another table of the same cases."""
        self.scores |= other.scores
        self.sets |= other.sets
        self.bounds |= other.bounds
        self.stamps |= other.stamps

    def only(self, variants: Sequence[str]) -> "Table":
        """Return the same cases with some of the variants, in the order given."""
        scores = {name: self.scores[name] for name in variants}
        sets = {name: self.sets[name] for name in variants}
        return Table(self.groups, scores, sets, self.blank, self.bounds)

    @classmethod
    def joined(cls, tables: "Sequence[Table]") -> "Table":
        """Return all cases of tables of the same variants; numbers of whole sets are averaged."""
        out = cls([group for table in tables for group in table.groups])
        out.blank = torch.cat([table.blank for table in tables])
        out.scores = _joined([table.scores for table in tables])
        out.bounds = _joined([table.bounds for table in tables])
        for variant, numbers in tables[0].sets.items():
            out.sets[variant] = {
                name: float(np.mean([table.sets[variant][name] for table in tables]))
                for name in numbers
            }
        return out

    def write(self, path: Path) -> None:
        """Everything but the pictures, as JSON with six digits and null for NaN."""
        content = {
            "about": self.about,
            "groups": self.groups,
            "scores": _short(self.scores),
            "sets": self.sets,
            "blank": _six_digits(self.blank.tolist()),
            "bounds": _short(self.bounds),
            "stamps": self.stamps,
        }
        text = json.dumps(null_for_nan(content), allow_nan=False)
        write_whole(path, lambda partial: partial.write_text(text, encoding="utf-8"))

    @classmethod
    def read(cls, path: Path) -> "Table":
        """Return what `write` wrote, now or before there were `about` and `bounds`."""
        content = json.loads(path.read_text(encoding="utf-8"))
        kept = content.keys() & {"scores", "sets", "blank", "bounds"}
        numbers = {key: _nan_for_null(content[key]) for key in kept}
        return cls(**content | numbers | {"blank": torch.tensor(numbers["blank"])})

    def set_names(self) -> list[str]:
        """Return the names of the numbers of whole sets."""
        return list(next(iter(self.sets.values()), {}))

    def per_picture(self, variant: str, name: str) -> np.ndarray:
        """Return a score's mean for each picture over masks and seeds, NaN where there is none.

        variant: one of `scores` or `bounds`.
        """
        values = np.array((self.scores | self.bounds)[variant][name])
        keys = np.array(self.groups)
        means = []
        for key in sorted(set(self.groups)):
            own = values[keys == key]
            own = own[~np.isnan(own)]
            means.append(own.mean() if len(own) else np.nan)
        return np.array(means)


def _append(known: dict[str, list[float]], found: Mapping[str, Tensor]) -> None:
    for name, values in found.items():
        known.setdefault(name, []).extend(values.tolist())


def _joined(several: Sequence[Scores]) -> Scores:
    """The scores of the first, each with those of all in a row."""
    return {
        variant: {name: [v for some in several for v in some[variant][name]] for name in found}
        for variant, found in several[0].items()
    }


def _short(scores: Scores) -> Scores:
    return {
        variant: {name: _six_digits(values) for name, values in found.items()}
        for variant, found in scores.items()
    }


def _six_digits(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def null_for_nan(value: Any) -> Any:
    """Return the same in JSON's own words, which have no NaN."""
    match value:
        case dict():
            return {key: null_for_nan(entry) for key, entry in value.items()}
        case list():
            return [null_for_nan(entry) for entry in value]
        case float() if not math.isfinite(value):
            return None
    return value


def _nan_for_null(value: Any) -> Any:
    """What `null_for_nan` was given."""
    match value:
        case dict():
            return {key: _nan_for_null(entry) for key, entry in value.items()}
        case list():
            return [_nan_for_null(entry) for entry in value]
        case None:
            return math.nan
    return value
