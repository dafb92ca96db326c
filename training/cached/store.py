"""Tensors on disk by name, which appear whole or not at all, whoever writes them."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from ..data.files import remove_left, write_tensors

# A cache must leave the disk room for checkpoints.
_RESERVE_BYTES = 2 * 1024**3


class TensorStore:
    """Dictionaries of tensors by name, one file each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        remove_left(folder)

    def path(self, name: str) -> Path:
        """Return where an entry is: in 256 folders, so that none grows too large."""
        return self.folder / name[:2] / f"{name}.safetensors"

    def has(self, name: str) -> bool:
        """Return whether there is a whole entry; one that was cut short is removed."""
        path = self.path(name)
        try:
            with safe_open(path, framework="pt"):  # compares the header with the file's size
                return True
        except FileNotFoundError:
            return False
        except SafetensorError:
            path.unlink(missing_ok=True)
            return False

    def get(self, name: str) -> dict[str, Tensor] | None:
        """Return an entry, or None if there is none or it is damaged (then it is removed)."""
        path = self.path(name)
        try:
            return load_file(path)
        except FileNotFoundError:
            return None
        except SafetensorError:
            path.unlink(missing_ok=True)
            return None

    def put(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Write an entry in one step.

        Raises:
            OSError: the disk is nearly full; what was written before stays.
        """
        free = shutil.disk_usage(self.folder).free
        if free < _RESERVE_BYTES:
            raise OSError(
                f"The disk of {self.folder} has {free / 1024**3:.1f} GiB left, and "
                f"{_RESERVE_BYTES / 1024**3:.0f} are kept for checkpoints; free some, or name "
                f"another folder with --cache_dir."
            )
        write_tensors(self.path(name), tensors)
