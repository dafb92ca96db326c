"""The demo base as a diffusers folder, for `training.train` and whatever else opens one.

python -m lab.make.export_base --output_dir build/base-diffusers
"""

import logging
from pathlib import Path

from pydantic import Field

from demo.base import CHECKPOINT, load_pipeline
from testbed.comfyui import BUILD
from training.config.commands import CommandSettings, read_settings

from ..origin import claim

log = logging.getLogger(__name__)


class BaseExportSettings(CommandSettings):
    """Settings of the export; every one is a command-line flag."""

    checkpoint: Path = Field(CHECKPOINT, description="the base as ComfyUI reads it")
    output_dir: Path = Field(BUILD / "base-diffusers", description="folder for diffusers")


def export_base(settings: BaseExportSettings) -> Path:
    """Return the folder of the exported base, written unless it is there.

    Raises:
        OriginError: the folder holds another base.
    """
    claim(settings)
    if not (settings.output_dir / "model_index.json").exists():  # which is written last
        load_pipeline(settings.checkpoint).save_pretrained(settings.output_dir)
    return settings.output_dir


def main() -> None:
    """Write the folder."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    log.info("wrote %s", export_base(read_settings(BaseExportSettings)))


if __name__ == "__main__":
    main()
