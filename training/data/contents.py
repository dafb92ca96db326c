"""The bytes that pictures, masks and captions are read from, wherever they are."""

import io
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from .words import shown

# More than any picture of those that are taken has.
MAX_BYTES = 2**29


class Content(Protocol):
    """Bytes that can be read again and again; what holds them pickles."""

    def open(self) -> BinaryIO:
        """Return them as a file; OSError, ValueError: they cannot be read."""
        ...

    def length(self) -> int:
        """Return how many they are, without reading them if that can be; errors as `open`'s."""
        ...

    def stamp(self) -> str:
        """Return what changes when they may have changed, without reading them."""
        ...


def read(content: Content, most: int = MAX_BYTES) -> bytes:
    """Return all bytes of a content; ValueError if they are more than `most`."""
    with content.open() as file:
        size = file.seek(0, os.SEEK_END)
        if size > most:
            raise ValueError(f"it is larger than {most / 2**20:g} MiB")
        file.seek(0)
        data = file.read(size + 1)  # a buffer for `most` would be made as large as that
    if len(data) > size:
        raise ValueError("it grows while it is read")
    return data


def whole(reads: Callable[[], bytes], size: int, name: str) -> BinaryIO:
    """Return as a file the `size` bytes that `reads` gives of the file called `name`.

    Raises:
        ValueError: they are too many, or not all there.
    """
    if not 0 <= size <= MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES / 2**20:g} MiB")
    data = reads()
    if len(data) < size:
        raise ValueError(f"{shown(name)} ends within it")
    return io.BytesIO(data)


def open_file(path: Path) -> BinaryIO:
    """Return a regular file, opened.

    Raises:
        ValueError: it is a pipe or a device, which might never end.
        OSError: it is missing or may not be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{shown(path.name)} is no file")
    return os.fdopen(descriptor, "rb")


def stat_stamp(found: os.stat_result) -> str:
    """Return what changes when a file does: copies that keep its times have another inode or ctime.

    Both can be the same for two contents only by a clock that was set back; what is kept of a file
    is compared with its digest when it is read again.
    """
    return f"{found.st_size}-{found.st_mtime_ns}-{found.st_ctime_ns}-{found.st_ino}"


@dataclass(frozen=True)
class FileContent:
    """A file."""

    path: Path

    def open(self) -> BinaryIO:
        """Return it opened."""
        return open_file(self.path)

    def length(self) -> int:
        """Return how many bytes it has; OSError if it is missing."""
        return self.path.stat().st_size

    def stamp(self) -> str:
        """Return where it is and what changes with it; OSError if it is missing."""
        return f"{self.path} {stat_stamp(self.path.stat())}"


@dataclass(frozen=True)
class Slice:
    """A part of a file, as the members of a tar file are."""

    path: Path
    offset: int
    size: int

    def open(self) -> BinaryIO:
        """Return it as a file; ValueError if it is too large or not within the file."""
        return whole(self._read, self.size, self.path.name)

    def _read(self) -> bytes:
        with open_file(self.path) as file:
            file.seek(self.offset)
            return file.read(self.size)

    def length(self) -> int:
        """Return how many bytes it has."""
        return self.size

    def stamp(self) -> str:
        """Return where it is and what changes with its file."""
        return f"{self.path} {self.offset} {self.size} {stat_stamp(self.path.stat())}"
