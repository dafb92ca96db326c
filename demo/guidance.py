"""What edge guidance and closed loops buy on the demo base, without and with an adapter.

python -m demo.guidance

The reference is the true scene's latent, the mask a box around its left object. Beside adherence
and freedom stands whether the probe still recognises the categories that the prompt names: of the
guided object, and of the free one. On validation objects, since it is to find sound defaults.
"""

import logging
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import torch

from training.report import Table
from training.settings import read_settings

from .comfyui import BUILD
from .graph import GraphConfig
from .study import Setting, Study, report
from .vocabulary import Split

log = logging.getLogger(__name__)


class Config(GraphConfig):
    """Settings of the study; every one is a command-line flag."""

    split: Split = "validation"
    output: Path = BUILD / "guidance.json"
    scales: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0)
    edges: tuple[str, ...] = ("sobel_gradients", "sobel")
    strengths: tuple[float, ...] = (0.5, 1.5, 2.0)
    targets: tuple[float, ...] = (0.6, 0.8, 0.9)


def settings(config: Config) -> Iterator[Setting]:
    """Guidance without and with the adapter, then the adapter's strength, fixed and looped."""
    for name, adapter in (("no adapter", None), ("local adapter", "local")):
        yield Setting(name, adapter)
        for edge, scale in product(config.edges, config.scales):
            yield Setting(f"{name}, {edge} {scale:g}", adapter, scale=scale, edge=edge)
    for strength in config.strengths:
        yield Setting(f"local adapter, strength {strength:g}", "local", strength=strength)
    for target in config.targets:
        yield Setting(f"local adapter, closed loop to {target:g}", "local", target=target)


def main() -> None:
    """Sample, print a table, and write all single values."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = read_settings(Config)
    with torch.inference_mode():
        tables = Study(config, list(settings(config))).run()
    log.info("Objects of the %s split, %d seeds.\n", config.split, config.seeds)
    log.info("%s", report(tables))
    Table.joined(tables).write(config.output)


if __name__ == "__main__":
    main()
