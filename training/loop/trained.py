"""Adapters that were trained, here or elsewhere, as files hold them."""

import logging
from pathlib import Path
from typing import Any

from safetensors import safe_open

from local_control.checkpoint import (
    METADATA_PREFIX,
    AdapterFile,
    AdapterFileError,
    parse_adapter,
    read_adapter,
)

from ..data.condition import PICTURES, Condition, parse_condition
from .state import STATE_NAME, UNREADABLE, read_notes

log = logging.getLogger(__name__)


def read_trained(path: Path) -> AdapterFile:
    """Return an adapter file, or the adapter (its average, if there is one) of a state.

    Raises:
        AdapterFileError: it cannot be read, or holds no adapter.
    """
    if not STATE_NAME.fullmatch(path.name):
        return read_adapter(path)
    try:
        _, notes = read_notes(path)
    except UNREADABLE as error:
        raise AdapterFileError(
            f"{path.name} cannot be read as a state of a run ({error}); name another one."
        ) from error
    with safe_open(path, framework="pt") as file:
        for prefix in ("module.ema.", "module.adapter."):
            keys = [key for key in file.keys() if key.startswith(prefix)]
            if keys:
                tensors = {key.removeprefix(prefix): file.get_tensor(key) for key in keys}
                return parse_adapter(tensors, path.name, _texts(notes.get("metadata")))
    raise AdapterFileError(f"{path.name} holds no adapter; name a file of a training run.")


def _texts(metadata: Any) -> dict[str, str]:
    """What of an adapter's metadata is text, as all of it should be."""
    pairs = metadata.items() if isinstance(metadata, dict) else ()
    return {key: value for key, value in pairs if isinstance(value, str)}


def read_condition(adapter: AdapterFile, name: str, column: bool = False) -> Condition | None:
    """Return what the adapter `name` reads, as its metadata tells, or canny for one channel.

    None: the conditions of a column, where there is one (`column`) and nothing else is told.

    Raises:
        AdapterFileError: the file does not tell, or of a column that there is not.
    """
    told = adapter.metadata.get(METADATA_PREFIX + "condition", "")
    found = parse_condition(told)
    if found is not None:
        return found
    if column:
        return None
    if adapter.config.in_channels == 1 and told != PICTURES:
        assumed = Condition()
        log.warning("%s does not tell what it reads; %s is assumed.", name, assumed)
        return assumed
    raise AdapterFileError(
        f"{name} does not read what can be made from pictures, or does not tell; name a column of "
        f"its conditions with --conditioning_image_column."
    )
