"""Files that appear whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError


class WriteError(OSError):
    """A file that could not be written; the message says what to do."""


def write_whole(path: Path, write: Callable[[Path], object], shared: bool = False) -> None:
    """Have `write` fill a file beside `path`, which then takes its place in one step.

    shared: other processes may write the same file at this moment; each then fills one of its own.

    Raises:
        WriteError: it could not be written; what was at `path` before is untouched.
    """
    suffix = f".{os.getpid()}.partial" if shared else ".partial"
    partial = path.with_suffix(suffix)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        raise WriteError(
            f"{path} could not be written ({error}); what was there before is safe. Free some "
            f"space, or see whether the folder may be written to, and start again."
        ) from error
    finally:
        partial.unlink(missing_ok=True)
