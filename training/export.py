"""Write controls for others: one file with metadata, and a diffusers folder.

python -m training.export --adapter my-adapter/best.safetensors --to exported
"""

import logging
from pathlib import Path

from pydantic import Field

from local_control.checkpoint import AdapterFile, AdapterFileError
from local_control.control_file import ControlFile

from .config.commands import CommandSettings, SettingsError, read_settings
from .loop.control_files import write_diffusers, write_file
from .loop.state import STATE_NAME, read_notes
from .loop.trained import is_state, read_trained

log = logging.getLogger(__name__)


class ExportSettings(CommandSettings):
    """Settings of `python -m training.export`; every one is a flag."""

    adapter: Path = Field(
        description="the .safetensors of an adapter or a ControlNet, or a checkpoint of a run"
    )
    to: Path = Field(description="folder to write into")
    name: str | None = Field(
        None,
        description="of the flat file (default: that of --adapter; of a checkpoint, kind and step)",
    )


def main() -> None:
    """Write one adapter or ControlNet in both ways."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = read_settings(ExportSettings)
    try:
        adapter = read_trained(settings.adapter)
        name = settings.name or _name(settings.adapter, adapter)
        path = settings.to / f"{name}.safetensors"
        _check_target(path, settings.adapter)
        write_file(adapter, path)
        write_diffusers(adapter, settings.to / "diffusers")
    except (AdapterFileError, SettingsError, OSError) as error:
        raise SystemExit(str(error)) from None
    log.info("wrote %s.safetensors and diffusers/ into %s", name, settings.to)


def _name(source: Path, control: ControlFile) -> str:
    """The name of what is exported from a file: its own, or kind and step of a checkpoint."""
    if not is_state(source):
        return source.stem
    kind = "adapter" if isinstance(control, AdapterFile) else "controlnet"
    step, _ = read_notes(source)
    return f"{kind}-{step:08d}"


def _check_target(path: Path, source: Path) -> None:
    """SettingsError if a file would be written over its source, or be taken for a checkpoint."""
    if STATE_NAME.fullmatch(path.name):
        raise SettingsError(f"{path.name} would be taken for a checkpoint; give another --name.")
    if path.exists() and path.samefile(source):
        raise SettingsError(
            f"{path} is what is exported, and would be written over; give another --name or --to."
        )


if __name__ == "__main__":
    main()
