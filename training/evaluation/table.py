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


@dataclass
class Table:
    """Scores of variants on the same cases. `groups`: the picture of each case.

    blank: LFMSE inside of a picture without edges, by case. stamps: by variant, what its scores
    depend on, where that is kept. about: base, adapters and settings. pictures: by variant, for
    the sheet, of the cases `shown`.
    """

    groups: list[str]
    scores: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    sets: dict[str, dict[str, float]] = field(default_factory=dict)
    blank: Tensor = field(default_factory=lambda: torch.zeros(0))
    stamps: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, list[Tensor]] = field(default_factory=dict)

    def add(self, variant: str, found: Mapping[str, Tensor]) -> None:
        """Append the scores of some cases."""
        for name, values in found.items():
            self.scores.setdefault(variant, {}).setdefault(name, []).extend(values.tolist())

    def add_set(self, variant: str, name: str, value: float) -> None:
        """A number of all pictures together."""
        self.sets.setdefault(variant, {})[name] = value

    def merge(self, other: "Table") -> None:
        """Take over the variants of another table of the same cases."""
        self.scores |= other.scores
        self.sets |= other.sets
        self.stamps |= other.stamps

    def only(self, variants: Sequence[str]) -> "Table":
        """Return the same cases with some of the variants, in the order given."""
        scores = {name: self.scores[name] for name in variants}
        return Table(self.groups, scores, {name: self.sets[name] for name in variants}, self.blank)

    @classmethod
    def joined(cls, tables: "Sequence[Table]") -> "Table":
        """Return all cases of tables of the same variants; numbers of whole sets are averaged."""
        out = cls([group for table in tables for group in table.groups])
        out.blank = torch.cat([table.blank for table in tables])
        for variant, found in tables[0].scores.items():
            out.scores[variant] = {
                name: [v for table in tables for v in table.scores[variant][name]] for name in found
            }
        for variant, numbers in tables[0].sets.items():
            out.sets[variant] = {
                name: float(np.mean([table.sets[variant][name] for table in tables]))
                for name in numbers
            }
        return out

    def write(self, path: Path) -> None:
        """Everything but the pictures, as JSON with six digits and null for NaN."""
        scores = {
            variant: {name: _six_digits(values) for name, values in found.items()}
            for variant, found in self.scores.items()
        }
        content = {
            "about": self.about,
            "groups": self.groups,
            "scores": scores,
            "sets": self.sets,
            "blank": _six_digits(self.blank.tolist()),
            "stamps": self.stamps,
        }
        text = json.dumps(_null_for_nan(content), allow_nan=False)
        write_whole(path, lambda partial: partial.write_text(text, encoding="utf-8"))

    @classmethod
    def read(cls, path: Path) -> "Table":
        """Return what `write` wrote, now or before there was `about`."""
        content = json.loads(path.read_text(encoding="utf-8"))
        numbers = {key: _nan_for_null(content[key]) for key in ("scores", "sets", "blank")}
        return cls(**content | numbers | {"blank": torch.tensor(numbers["blank"])})

    def set_names(self) -> list[str]:
        """Return the names of the numbers of whole sets."""
        return list(next(iter(self.sets.values()), {}))

    def per_picture(self, variant: str, name: str) -> np.ndarray:
        """Return a score's mean for each picture over masks and seeds, NaN where there is none."""
        values = np.array(self.scores[variant][name])
        keys = np.array(self.groups)
        means = []
        for key in sorted(set(self.groups)):
            own = values[keys == key]
            own = own[~np.isnan(own)]
            means.append(own.mean() if len(own) else np.nan)
        return np.array(means)


def _six_digits(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def _null_for_nan(value: Any) -> Any:
    """The same in JSON's own words, which have no NaN."""
    match value:
        case dict():
            return {key: _null_for_nan(entry) for key, entry in value.items()}
        case list():
            return [_null_for_nan(entry) for entry in value]
        case float() if not math.isfinite(value):
            return None
    return value


def _nan_for_null(value: Any) -> Any:
    """What `_null_for_nan` was given."""
    match value:
        case dict():
            return {key: _nan_for_null(entry) for key, entry in value.items()}
        case list():
            return [_nan_for_null(entry) for entry in value]
        case None:
            return math.nan
    return value
