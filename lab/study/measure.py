"""Adherence and freedom of local control on held-out objects, through the nodes of ComfyUI.

python -m lab.study.measure
"""

import logging
from itertools import chain
from pathlib import Path

from pydantic import Field

from testbed.comfyui import BUILD
from training.config.commands import read_settings
from training.evaluation.table import Table

from .study import ADHERENCE, Arm, StudySettings, bounds, differences, report, run

log = logging.getLogger(__name__)


class MeasureSettings(StudySettings):
    """Settings of the measurement; every one is a command-line flag."""

    output: Path = Field(BUILD / "measure.json", description="the file of scores")
    strengths: tuple[float, ...] = Field((1.0, 2.0), description="of the adapters")


def arms(strength: float) -> tuple[Arm, ...]:
    """Return both adapters at one strength."""
    at = "" if strength == 1 else f", strength {strength:g}"
    return (
        Arm(f"plain adapter, everywhere{at}", "plain", "everywhere", strength),
        Arm(f"plain adapter, gated{at}", "plain", "gated", strength),
        Arm(f"local adapter, exact{at}", "local", "exact", strength),
        Arm(f"local adapter, gated{at}", "local", "gated", strength),
    )


def main() -> None:
    """Measure, print a table, and write all single values."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = read_settings(MeasureSettings)
    groups = [arms(strength) for strength in settings.strengths]
    tables = run(settings, [Arm("no control"), *chain(*groups)])
    log.info("Objects of the %s split, %d seeds.\n", settings.split, settings.seeds)
    log.info("%s", report(tables))
    pairs = [(local.label, other.label) for *others, local in groups for other in others]
    log.info("%s", differences(tables, pairs))
    for name, value in bounds(settings).items():
        log.info("%s of %s: %.3f", ADHERENCE, name, value)
    Table.joined(tables).write(settings.output)


if __name__ == "__main__":
    main()
