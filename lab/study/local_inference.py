"""What keeps control local at sampling, with nothing trained for it, along frontiers.

python -m lab.study.local_inference
python -m lab.study.local_inference --split test --only '["exact, of the positive prompt"]'

Every way to sample with the demo's plain adapter is tried at several strengths, through the nodes
of ComfyUI: gated features and blended predictions, levels of features left out, control in a part
of the sampling, by a curve, of one prompt, with a feathered mask, by a guidance of its own; edge
guidance stands beside them. On validation objects, since it is to find sound defaults. Curves are
kept one by one: a stopped study goes on.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field

from testbed.comfyui import ROOT
from training.config.commands import read_settings
from training.evaluation.frontier import Curve, Frontier
from training.evaluation.frontier_report import write_frontier
from training.evaluation.table import Table

from ..world.vocabulary import Split
from .study import ADHERENCE, Arm, StudySettings, run

log = logging.getLogger(__name__)

_LEVELS = ("finest", "fine", "coarse", "coarsest")
# Beside the strengths, these have a scale of their own, which their curves run over.
_SCALES = {
    "edge guidance": (0.25, 0.5, 1.0, 2.0),
    "guidance by control": (2.0, 4.0, 6.0, 8.0),
}
# Of many curves, those that the plot shows.
_DRAWN = frozenset(
    {
        *("gated", "exact", "gated, of the positive prompt", "exact, of the positive prompt"),
        *("exact, guidance by control", "edge guidance alone"),
        *(f"exact, of the positive prompt, {when}" for when in ("from 20 %", "second half")),
    }
)


class LocalInferenceSettings(StudySettings):
    """Settings of the study; every one is a command-line flag."""

    split: Split = Field("validation", description="whose objects are used")
    steps: int = Field(10, description="in which pictures are sampled")
    seeds: int = Field(1, description="scenes of each object")
    adapter: str = Field("plain", description="of the demo's")
    strengths: tuple[float, ...] = Field((1.0, 2.0, 3.0), min_length=1, description="along a curve")
    reference: str = Field("gated", description="curve that the others are held against")
    only: tuple[str, ...] = Field((), description="curves to draw (default: all)")
    name: str = Field("inference", description="of the folder in docs, before the split")
    docs: Path = Field(ROOT / "docs" / "frontier", description="where tables and plots are written")


def ways(adapter: str) -> dict[str, Arm]:
    """Return every way to sample, by its name."""
    gated = Arm("", adapter)
    exact = replace(gated, outside="exact")

    def with_region(arm: Arm, **region: Any) -> Arm:
        return replace(arm, region=region)

    found = {"gated": gated, "exact": exact}
    for i, level in enumerate(_LEVELS):
        weights = ", ".join("0" if i == j else "1" for j in range(len(_LEVELS)))
        found[f"gated, without {level} level"] = with_region(gated, level_weights=weights)
    for name, arm in (("gated", gated), ("exact", exact)):
        found |= {
            f"{name}, of the positive prompt": with_region(arm, acts_on="positive"),
            f"{name}, fading out": with_region(arm, strength_curve="2, 0"),
        }
    for radius in (4, 8, 16):
        region = {"acts_on": "positive", "feather": radius}
        found[f"exact, of the positive prompt, feather {radius}"] = with_region(exact, **region)
    for name, start, end in (
        ("first half", 0.0, 0.5),
        ("from 10 %", 0.1, 1.0),
        ("from 20 %", 0.2, 1.0),
        ("from 30 %", 0.3, 1.0),
        ("second half", 0.5, 1.0),
    ):
        region = {"acts_on": "positive", "start_percent": start, "end_percent": end}
        found[f"exact, of the positive prompt, {name}"] = with_region(exact, **region)
    return found | {
        "exact, first half": with_region(exact, end_percent=0.5),
        "gated, guidance by control": replace(gated, control_scale=4.0),
        "exact, guidance by control": replace(exact, control_scale=4.0),
        "edge guidance alone": Arm("", edge="sobel_gradients", scale=1.0),
    }


def along(name: str, way: Arm, strengths: tuple[float, ...]) -> dict[float, Arm]:
    """Return the arms of one curve, by their strength, or by the scale that stands for it."""
    if way.control_scale is not None:
        points = {s: replace(way, control_scale=s) for s in _SCALES["guidance by control"]}
    elif way.scale and way.adapter is None:
        points = {s: replace(way, scale=s) for s in _SCALES["edge guidance"]}
    else:
        points = {s: replace(way, strength=s) for s in strengths}
    return {s: replace(arm, label=f"{name}, {s:g}") for s, arm in points.items()}


def chosen(settings: LocalInferenceSettings) -> Iterator[tuple[str, dict[float, Arm]]]:
    """Yield the curves to draw: the reference first, whether asked for or not.

    Raises:
        SystemExit: `reference` or `only` names a curve that there is not.
    """
    every = ways(settings.adapter)
    if unknown := {settings.reference, *settings.only} - every.keys():
        raise SystemExit(f"{min(unknown)} is none of these curves: {'; '.join(every)}")
    others = [name for name in settings.only or every if name != settings.reference]
    for name in (settings.reference, *others):
        yield name, along(name, every[name], settings.strengths)


def main() -> None:
    """Sample what is missing, curve by curve, and write table and plot."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = read_settings(LocalInferenceSettings)
    curves, tables = [], []
    for name, points in chosen(settings):
        log.info("%s", name)
        found = Table.joined(run(settings, [Arm("no control"), *points.values()]))
        curves.append(Curve(name, {s: arm.label for s, arm in points.items()}))
        tables.append(found)
    whole = tables[0]
    for table in tables[1:]:
        whole.merge(table)
    folder = settings.docs / f"{settings.name}-{settings.split}"
    about = (
        f"## What keeps control local at sampling, {settings.split} objects\n\n"
        f"{len(set(whole.groups))} objects, {settings.seeds} seeds of noise, the demo's "
        f"{settings.adapter} adapter, {settings.steps} steps, guidance {settings.cfg:g}. "
        f"Mean [95 % interval over objects].\n\n"
    )
    drawn = [curve for curve in curves if curve.name in _DRAWN] if len(curves) > 8 else []
    log.info("%s", write_frontier(Frontier(whole, curves, ADHERENCE), folder, about, drawn))


if __name__ == "__main__":
    main()
