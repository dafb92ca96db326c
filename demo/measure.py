"""Adherence and freedom of local control on held-out objects, through the nodes of ComfyUI.

python -m demo.measure
"""

import logging
from pathlib import Path

from training.report import Table
from training.settings import read_settings

from .comfyui import BUILD
from .study import ADHERENCE, Setting, StudyConfig, bounds, report, run

log = logging.getLogger(__name__)

_LOCAL = "local adapter, gated"
_SETTINGS = (
    Setting("no control"),
    Setting("plain adapter, everywhere", "plain", gated=False),
    Setting("plain adapter, gated", "plain"),
    Setting(_LOCAL, "local"),
)


class Config(StudyConfig):
    """Settings of the measurement; every one is a command-line flag."""

    output: Path = BUILD / "measure.json"


def main() -> None:
    """Measure, print a table, and write all single values."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = read_settings(Config)
    tables = run(config, _SETTINGS)
    log.info("Objects of the %s split, %d seeds.\n", config.split, config.seeds)
    log.info("%s", report(tables, _LOCAL))
    for name, value in bounds(config).items():
        log.info("%s of %s: %.3f", ADHERENCE, name, value)
    Table.joined(tables).write(config.output)


if __name__ == "__main__":
    main()
