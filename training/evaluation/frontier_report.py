"""Reports of frontiers: JSON, tables and a plot."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..data.records import DatasetError
from ..data.tables import parse
from .frontier import Comparison, Curve, Frontier
from .intervals import Interval, interval
from .paths import Reading
from .table import null_for_nan

_BEST = "best strengths on these pictures"


def read_best(path: Path) -> dict[str, float]:
    """Return each curve's best strength on the pictures of a report, a `frontier.json`.

    Raises:
        DatasetError: it is no such report.
    """
    try:
        found = parse(path.read_text(encoding="utf-8"))[_BEST]
        return {name: _strength(value) for name, value in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DatasetError(
            f"{path} names no best strengths; name the frontier.json of an evaluation."
        ) from None


def _strength(value: Any) -> float:
    """A strength above 0; ValueError if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(value)
    return value


def write_frontier(
    frontier: Frontier, folder: Path, about: str = "", drawn: Sequence[Curve] = ()
) -> str:
    """Return the Markdown of frontier.md, written beside frontier.json and frontier.png.

    about: what stands above it. drawn: the curves of the plot, where those are not all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps(null_for_nan(as_json(frontier)), allow_nan=False, indent=1)
    (folder / "frontier.json").write_text(content, encoding="utf-8")
    text = about + as_markdown(frontier)
    (folder / "frontier.md").write_text(text, encoding="utf-8")
    from .plots import draw  # matplotlib, which nothing else needs

    draw(replace(frontier, curves=drawn or frontier.curves), folder / "frontier.png")
    return text


def as_markdown(frontier: Frontier) -> str:
    """Return every point, the bounds of adherence, and the comparisons with the reference."""
    strength = frontier.strength
    same = {curve.name: strength for curve in frontier.curves if strength in curve.variants}
    parts = [_points(frontier), _bounds(frontier), _comparisons(frontier)]
    parts.append(_at(frontier, same, f"Each at strength {strength:g} (difference to the first):"))
    if frontier.best:
        words = "Each at the strength that was best on other pictures (difference to the first):"
        parts.append(_at(frontier, frontier.best, words))
    return "\n".join(part for part in parts if part)


def as_json(frontier: Frontier) -> dict[str, Any]:
    """Return the same in JSON's types; an interval is [mean, low, high].

    What is read off along a frontier has the share of resamples that have it as a fourth number.
    """
    return {
        "adherence": frontier.adherence,
        "reference": frontier.reference.name,
        "reference strength": frontier.strength,
        _BEST: frontier.best_strengths(),
        "best strengths from other pictures": dict(frontier.best),
        "curves": {curve.name: _json_points(frontier, curve) for curve in frontier.curves},
        "comparisons": [
            _json_comparison(frontier.compare(curve, cost))
            for curve in frontier.curves
            for cost in frontier.costs()
        ],
        "bounds": {name: _numbers(value) for name, value in _bound_intervals(frontier).items()},
    }


def _json_points(frontier: Frontier, curve: Curve) -> dict[str, dict[str, list[float]]]:
    return {
        f"{strength:g}": {k: _numbers(v) for k, v in frontier.point(curve, strength).items()}
        for strength in curve.variants
    }


def _json_comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        name: [*_numbers(value.value), value.share] if isinstance(value, Reading) else value
        for name, value in vars(comparison).items()
    }


def _numbers(value: Interval) -> list[float]:
    return [float(f"{number:.6g}") for number in asdict(value).values()]


def _bound_intervals(frontier: Frontier) -> dict[str, Interval]:
    table = frontier.table
    return {b: interval(table.per_picture(b, frontier.adherence)) for b in table.bounds}


def _rows(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _points(frontier: Frontier) -> str:
    rows = [
        [curve.name, f"{strength:g}", *map(str, frontier.point(curve, strength).values())]
        for curve in frontier.curves
        for strength in curve.variants
    ]
    return _rows(["adapter", "strength", *frontier.shown()], rows)


def _bounds(frontier: Frontier) -> str:
    named = [f"{name} {value}" for name, value in _bound_intervals(frontier).items()]
    return f"Bounds of {frontier.adherence}: {'; '.join(named)}.\n" if named else ""


def _comparisons(frontier: Frontier) -> str:
    reference, adherence = frontier.reference.name, frontier.adherence
    text = ""
    for cost in frontier.costs():
        found = [frontier.compare(curve, cost) for curve in frontier.curves]
        at = found[0]
        text += (
            f"At no more {cost} than {reference} has at strength {frontier.strength:g}, and at no "
            f"less adherence than it has there; differences to its own frontier:\n\n"
        )
        head = ["adapter", adherence, "difference", cost, "difference"]
        text += _rows(head, [_compared(c, c is at) for c in found]) + "\n"
    return text


def _compared(found: Comparison, own: bool) -> list[str]:
    differences = ["", ""] if own else [str(found.gain_difference), str(found.price_difference)]
    return [found.curve, str(found.gain), differences[0], str(found.price), differences[1]]


def _at(frontier: Frontier, strengths: Mapping[str, float], words: str) -> str:
    rows = []
    for curve in frontier.curves:
        if curve.name not in strengths:
            continue
        point = frontier.point(curve, strengths[curve.name])
        differences: Mapping[str, object] = frontier.differences(curve, strengths)
        if curve is frontier.reference:
            differences = dict.fromkeys(point, "")
        cells = [f"{point[name]} ({differences[name]})".replace(" ()", "") for name in point]
        rows.append([curve.name, f"{strengths[curve.name]:g}", *cells])
    return f"{words}\n\n" + _rows(["adapter", "strength", *frontier.shown()], rows)
