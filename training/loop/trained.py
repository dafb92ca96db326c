"""Controls that were trained, here or elsewhere, as files hold them."""

import logging
from pathlib import Path
from typing import Any

from safetensors import safe_open

from local_control.checkpoint import METADATA_PREFIX, AdapterFileError, open_file
from local_control.control_file import ControlFile, parse_control, read_control

from ..data.condition import PICTURES, Condition, parse_condition
from .state import UNREADABLE, read_notes

log = logging.getLogger(__name__)


# Parts of a state that may be what is wanted, the first that there is.
_PARTS = ("module.ema.", "module.adapter.", "module.controlnet.")


def read_trained(path: Path) -> ControlFile:
    """Return what a control's file holds, or the control (its average, if any) of a state.

    Raises:
        AdapterFileError: it cannot be read, or holds no control.
    """
    if not is_state(path):
        return read_control(path)
    try:
        _, notes = read_notes(path)
    except UNREADABLE as error:
        raise AdapterFileError(
            f"{path.name} cannot be read as a state of a run ({error}); name another one."
        ) from error
    with safe_open(path, framework="pt") as file:
        for prefix in _PARTS:
            keys = [key for key in file.keys() if key.startswith(prefix)]
            if keys:
                tensors = {key.removeprefix(prefix): file.get_tensor(key) for key in keys}
                return parse_control(tensors, path.name, _texts(notes.get("metadata")))
    raise AdapterFileError(f"{path.name} holds no control; name a file of a training run.")


def is_state(path: Path) -> bool:
    """Return whether a safetensors file is a state of a run, whatever its name.

    Raises:
        AdapterFileError: it cannot be read.
    """
    with open_file(path) as file:
        return {"step", "notes"} <= (file.metadata() or {}).keys()


def _texts(metadata: Any) -> dict[str, str]:
    """What of a control's metadata is text, as all of it should be."""
    pairs = metadata.items() if isinstance(metadata, dict) else ()
    return {key: value for key, value in pairs if isinstance(value, str)}


def read_condition(control: ControlFile, name: str, column: bool = False) -> Condition | None:
    """Return what the control `name` reads, as its metadata tells, or canny for one channel.

    None: the conditions of a column, where there is one (`column`) and nothing else is told.

    Raises:
        AdapterFileError: the file does not tell, or of a column that there is not.
    """
    told = control.metadata.get(METADATA_PREFIX + "condition", "")
    found = parse_condition(told)
    if found is not None:
        return found
    if column:
        return None
    if control.in_channels == 1 and told != PICTURES:
        assumed = Condition()
        log.warning("%s does not tell what it reads; %s is assumed.", name, assumed)
        return assumed
    raise AdapterFileError(
        f"{name} does not read what can be made from pictures, or does not tell; name a column of "
        f"its conditions with --conditioning_image_column."
    )
