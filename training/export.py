"""Write controls for others: one file with metadata, and a diffusers folder.

python -m training.export --adapter my-adapter/best.safetensors --to exported
"""

import logging
from pathlib import Path

from pydantic import Field

from local_control.checkpoint import AdapterFileError

from .config.commands import CommandSettings, read_settings
from .loop.control_files import write_diffusers, write_file
from .loop.trained import read_trained

log = logging.getLogger(__name__)


class ExportSettings(CommandSettings):
    """Settings of `python -m training.export`; every one is a flag."""

    adapter: Path = Field(
        description="the .safetensors of an adapter or a ControlNet, or a checkpoint of a run"
    )
    to: Path = Field(description="folder to write into")
    name: str | None = Field(None, description="of the flat file (default: that of --adapter)")


def main() -> None:
    """Write one adapter or ControlNet in both ways."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = read_settings(ExportSettings)
    try:
        adapter = read_trained(settings.adapter)
        name = settings.name or settings.adapter.stem
        write_file(adapter, settings.to / f"{name}.safetensors")
        write_diffusers(adapter, settings.to / "diffusers")
    except (AdapterFileError, OSError) as error:
        raise SystemExit(str(error)) from None
    log.info("wrote %s.safetensors and diffusers/ into %s", name, settings.to)


if __name__ == "__main__":
    main()
