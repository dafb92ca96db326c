"""What edge guidance and an adapter's strength buy on the demo base.

python -m lab.study.guidance

The reference is the true scene's latent, the mask a box around its left object. Beside adherence
and freedom stands whether the probe still recognises the categories that the prompt names: of the
guided object, and of the free one. On validation objects, since it is to find sound defaults.
"""

import logging
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from pydantic import Field

from testbed.comfyui import BUILD
from training.config.commands import read_settings
from training.evaluation.table import Table

from ..world.vocabulary import Split
from .study import Arm, StudySettings, differences, report, run

log = logging.getLogger(__name__)


class GuidanceSettings(StudySettings):
    """Settings of the study; every one is a command-line flag."""

    split: Split = Field("validation", description="whose objects are used")
    output: Path = Field(BUILD / "guidance.json", description="the file of scores")
    scales: tuple[float, ...] = Field((0.5, 1.0, 2.0, 4.0), description="of edge guidance")
    edges: tuple[str, ...] = Field(
        ("sobel_gradients", "sobel"), description="filters that guidance compares"
    )
    strengths: tuple[float, ...] = Field(
        (1.0, 1.5, 2.0), min_length=1, description="of the adapter"
    )


def arms(settings: GuidanceSettings) -> Iterator[Arm]:
    """Yield guidance without and with the adapter and strengths of both adapters."""
    yield Arm("no adapter")
    for name, adapter in (("no adapter", None), ("local adapter", "local")):
        for edge, scale in product(settings.edges, settings.scales):
            yield Arm(f"{name}, {edge} {scale:g}", adapter, scale=scale, edge=edge)
    for kind, strength in product(("plain", "local"), settings.strengths):
        yield Arm(f"{kind} adapter, strength {strength:g}", kind, strength=strength)


def main() -> None:
    """Sample, print a table, and write all single values."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = read_settings(GuidanceSettings)
    tables = run(settings, list(arms(settings)))
    log.info("Objects of the %s split, %d seeds.\n", settings.split, settings.seeds)
    log.info("%s", report(tables))
    free, *others = (arm.label for arm in arms(settings))
    local = f"local adapter, strength {settings.strengths[0]:g}"
    pairs = [(label, free if label.startswith(free) else local) for label in others]
    log.info("%s", differences(tables, pairs))
    Table.joined(tables).write(settings.output)


if __name__ == "__main__":
    main()
