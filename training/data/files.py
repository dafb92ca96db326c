"""Files that appear whole or not at all, and are the same bytes whenever they say the same."""

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from safetensors.torch import save
from torch import Tensor

_PARTIAL = ".partial"
# A partial file that nobody has written to for so many seconds was left by a process that died:
# the longest wait of a living one is for a disk.
_LEFT_AFTER = 3600.0


class WriteError(OSError):
    """A file that could not be written; the message says what to do."""


def write_whole(
    path: Path, write: Callable[[Path], object], before: Callable[[], object] | None = None
) -> None:
    """Have `write` fill a file beside `path`, which then takes its place in one step.

    before: what is to be done when it is whole and has not taken its place. The file beside it has
    a name of its own, so that processes of other machines and containers may write the same one at
    this moment.

    Raises:
        WriteError: it could not be written; what was at `path` before is untouched.
    """
    partial = path.with_name(f"{path.name}.{uuid4().hex}{_PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        with partial.open("r+b") as written:  # Windows flushes only what can be written
            os.fsync(written.fileno())
        if before is not None:
            before()
        partial.replace(path)
    except OSError as error:
        raise WriteError(
            f"{path} could not be written ({error}); what was there before is safe. Free some "
            f"space, or see whether the folder may be written to, and start again."
        ) from error
    finally:
        with suppress(OSError):  # the folder may be none
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8; WriteError as `write_whole` says."""
    write_whole(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def write_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    before: Callable[[], object] | None = None,
) -> None:
    """Write a safetensors file, which is the same bytes for the same content.

    before: as for `write_whole`.

    Raises:
        WriteError: as `write_whole` says.
    """
    ready = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    data = memoryview(save(ready, dict(metadata or {}) or None))
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(bytes(data[8:end]))
    about = header.pop("__metadata__", {})  # the library writes it in an order of chance
    if about:
        header = {"__metadata__": dict(sorted(about.items()))} | header
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)

    def write(partial: Path) -> None:
        with partial.open("xb") as file:  # by the user's umask, which the library sets aside
            file.write(len(text).to_bytes(8, "little") + text)
            file.write(data[end:])

    write_whole(path, write, before)


def remove_left(folder: Path, after: float = _LEFT_AFTER) -> None:
    """Remove the partial files in a folder that nobody has touched for `after` seconds."""
    for partial in folder.glob(f"*{_PARTIAL}"):
        try:
            if time.time() - partial.stat().st_mtime >= after:
                partial.unlink()
        except OSError:  # another process was first, or may not
            continue
