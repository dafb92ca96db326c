"""Tables of evaluations: means, paired confidence intervals, JSON, Markdown, picture sheets."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.stats import bootstrap
from torch import Tensor

from ..data.files import write_whole
from .measures import sheet

_RESAMPLES = 2000


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
        """The same cases with some of the variants, in the order given."""
        scores = {name: self.scores[name] for name in variants}
        return Table(self.groups, scores, {name: self.sets[name] for name in variants}, self.blank)

    @classmethod
    def joined(cls, tables: "Sequence[Table]") -> "Table":
        """All cases of tables of the same variants; numbers of whole sets are averaged."""
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
        """What `write` wrote, now or before there was `about`."""
        content = json.loads(path.read_text(encoding="utf-8"))
        numbers = {key: _nan_for_null(content[key]) for key in ("scores", "sets", "blank")}
        return cls(**content | numbers | {"blank": torch.tensor(numbers["blank"])})

    def per_picture(self, variant: str, name: str) -> np.ndarray:
        """A score's mean for each picture over its masks and seeds, NaN where there is none."""
        values = np.array(self.scores[variant][name])
        keys = np.array(self.groups)
        means = []
        for key in sorted(set(self.groups)):
            own = values[keys == key]
            own = own[~np.isnan(own)]
            means.append(own.mean() if len(own) else np.nan)
        return np.array(means)


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval over pictures."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def interval(values: np.ndarray) -> Interval:
    """Bootstrap over pictures, with a fixed seed; NaN are left out."""
    values, mean = values[~np.isnan(values)], _mean(values)
    if len(values) < 2 or np.ptp(values) == 0:
        return Interval(mean, mean, mean)
    rng = np.random.default_rng(0)
    found = bootstrap(
        (values,), np.mean, n_resamples=_RESAMPLES, method="percentile", rng=rng
    ).confidence_interval
    return Interval(mean, float(found.low), float(found.high))


def paired(table: Table, variant: str, reference: str, name: str) -> Interval:
    """The difference of two variants on the same pictures."""
    return interval(table.per_picture(variant, name) - table.per_picture(reference, name))


def markdown(table: Table, *references: str) -> str:
    """Means with 95 % intervals, and differences to each of `references`, one row a variant."""
    variants = list(table.scores)
    names = list(table.scores[variants[0]])
    pictures = len(set(table.groups))
    about = f"{len(table.groups)} cases of {pictures} pictures; mean [95 % interval over pictures]."
    if len(table.blank):
        about += f" LFMSE inside of a blank picture: {table.blank.nanmean().item():.4f}."
    lines = [
        about,
        "",
        "| variant | " + " | ".join([*names, *_set_names(table)]) + " |",
        "| --- " * (1 + len(names) + len(_set_names(table))) + "|",
    ]
    for variant in variants:
        cells = [str(interval(table.per_picture(variant, name))) for name in names]
        cells += [f"{table.sets[variant][name]:.4f}" for name in _set_names(table)]
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    for reference in references:
        lines += ["", f"Paired differences to {reference}:", ""]
        lines += ["| variant | " + " | ".join(names) + " |", "| --- " * (1 + len(names)) + "|"]
        for variant in variants:
            if variant != reference:
                cells = [str(paired(table, variant, reference, name)) for name in names]
                lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def spread(tables: Sequence[Table]) -> str:
    """The standard deviation of each score's mean over tables, which are a sample of all seeds'.

    One row a variant.
    """
    names = list(next(iter(tables[0].scores.values())))
    lines = ["| variant | " + " | ".join(names) + " |", "| --- " * (1 + len(names)) + "|"]
    for variant in tables[0].scores:
        means = [[_mean(np.array(t.scores[variant][name])) for name in names] for t in tables]
        cells = [f"{value:.3f}" for value in np.std(means, axis=0, ddof=1)]
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def write_report(table: Table, folder: Path) -> str:
    """Write report.json, report.md and sheet.png -> the Markdown.

    Differences are to the first adapter, which comes after "no control".
    """
    folder.mkdir(parents=True, exist_ok=True)
    variants = list(table.scores)
    text = markdown(table, *(variants[1:2] if len(variants) > 2 else ()))
    (folder / "report.md").write_text(text, encoding="utf-8")
    table.write(folder / "report.json")
    if table.pictures:
        rows = [list(row) for row in zip(*table.pictures.values(), strict=True)]
        Image.fromarray(sheet(rows)).save(folder / "sheet.png")
    return text


def _mean(values: np.ndarray) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")


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


def _set_names(table: Table) -> list[str]:
    return list(next(iter(table.sets.values()), {}))
