"""The files below a folder, and what changes when one of them does."""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from .contents import stat_stamp
from .digests import digest
from .records import DatasetError

_MODULUS = 2**128


def files_below(
    folder: Path, linked: Counter[str] | None = None
) -> Iterator[tuple[str, list[str]]]:
    """Yield every folder, relative, with the sorted names of its files; links are not entered.

    linked: counts the links to folders. Hidden folders are left out.
    """
    waiting = [""]
    while waiting:
        below = waiting.pop()
        files, folders = [], []
        with _scan(folder / below) as found:
            for entry in found:
                if not _is_folder(entry):
                    files.append(entry.name)
                elif entry.is_symlink():
                    if linked is not None:
                        linked["links to folders"] += 1
                elif not entry.name.startswith("."):
                    folders.append(os.path.join(below, entry.name))
        yield below, sorted(files)
        waiting += sorted(folders, reverse=True)


def tree_stamp(folder: Path) -> str:
    """Return what changes when a file below a folder comes, goes or changes.

    It is a sum over files, so that none of them is kept in memory.
    """
    total = 0
    waiting = [folder]
    while waiting:
        below = waiting.pop()
        with _scan(below) as found:
            for entry in found:
                if entry.is_dir(follow_symlinks=False):
                    if not entry.name.startswith("."):
                        waiting.append(Path(entry.path))
                    continue
                try:
                    stamp = stat_stamp(entry.stat())
                except OSError:  # a link to nowhere
                    stamp = "missing"
                total += int(digest(os.fsencode(entry.path), stamp), 16)
    return f"{total % _MODULUS:032x}"


def _scan(folder: Path) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
    """Entries of a folder; DatasetError if it cannot be listed."""
    try:
        return os.scandir(folder)
    except OSError as error:
        raise DatasetError(f"The folder {folder} cannot be read ({error.strerror}).") from None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
