"""Adherence and freedom of local control on held-out objects, through the nodes of ComfyUI.

python -m lab.study.measure
python -m lab.study.measure --condition colour
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field

from demo.base import CONDITIONS
from testbed.comfyui import BUILD
from training.config.commands import read_settings
from training.evaluation.table import Table

from .study import ADHERENCE, COLOURS, Arm, StudySettings, bounds, differences, report, run

log = logging.getLogger(__name__)

# The score that says how a condition is followed.
_ADHERENCE = {"canny": ADHERENCE, "colour": COLOURS}


class MeasureSettings(StudySettings):
    """Settings of the measurement; every one is a command-line flag."""

    condition: Literal["canny", "colour"] = Field("canny", description="that adapters read")
    output: Path = Field(BUILD / "measure.json", description="the file of scores")
    strengths: tuple[float, ...] = Field((1.0,), description="of the adapters")


def arms(adapters: Sequence[str], strength: float) -> dict[str, Arm]:
    """Return ways to act with each adapter at one strength, by what each is called."""
    positive = {"acts_on": "positive"}
    first = adapters[0]
    found = {f"{first} adapter, everywhere": Arm("", first, "everywhere", strength)}
    for kind in adapters:
        found |= {
            f"{kind} adapter, gated": Arm("", kind, "gated", strength),
            f"{kind} adapter, exact": Arm("", kind, "exact", strength),
            f"{kind} adapter, exact, positive": Arm("", kind, "exact", strength, region=positive),
        }
    at = "" if strength == 1 else f", strength {strength:g}"
    return {name: replace(arm, label=f"{name}{at}") for name, arm in found.items()}


def pairs(ways: Mapping[str, Arm]) -> Iterator[tuple[str, str]]:
    """Yield what is compared: each way with gated features, and both adapters in each."""
    for name, arm in ways.items():
        kind, _, way = name.partition(" ")
        for other in (f"{kind} adapter, gated", f"plain {way}"):
            if other in ways and other != name:
                yield arm.label, ways[other].label


def main() -> None:
    """Measure, print a table, and write all single values."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = read_settings(MeasureSettings)
    adapters = [name for name, read in CONDITIONS.items() if read == settings.condition]
    adherence = _ADHERENCE[settings.condition]
    groups = [arms(adapters, strength) for strength in settings.strengths]
    every = [arm for ways in groups for arm in ways.values()]
    tables = run(settings, [Arm("no control"), *every])
    log.info("Objects of the %s split, %d seeds.\n", settings.split, settings.seeds)
    log.info("%s", report(tables))
    for ways in groups:
        log.info("%s", differences(tables, list(pairs(ways)), adherence))
    if adherence == ADHERENCE:
        for name, value in bounds(settings).items():
            log.info("%s of %s: %.3f", ADHERENCE, name, value)
    Table.joined(tables).write(settings.output)


if __name__ == "__main__":
    main()
