"""Tensors on disk by name, many to a file, written by any number of processes and nodes at once.

A shard is a safetensors file whose tensors are the bytes of entries, which are safetensors files
themselves. Whoever writes has shards of its own, which appear whole or not at all and never change;
an index of all of them is made once and read by everyone, so that none of it is kept in memory.
"""

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ..data.digests import digest
from ..data.files import remove_left, write_tensors, write_whole

# A cache must leave the disk room for checkpoints.
_RESERVE_BYTES = 2 * 1024**3
_SHARD_BYTES = 128 * 1024**2
# How much work, in seconds, a process that is killed may lose.
_SHARD_SECONDS = 300.0
# Indexes that other runs may be reading.
_KEPT_INDEXES = 3
_SCHEMA = """
CREATE TABLE shards (number INTEGER PRIMARY KEY, name TEXT, size INTEGER);
CREATE TABLE entries (name TEXT PRIMARY KEY, shard INTEGER, start INTEGER, size INTEGER)
WITHOUT ROWID;
"""


class TensorStore:
    """Dictionaries of tensors by name, in shards; it pickles."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._index = Path()
        self._opened: dict[int, sqlite3.Connection] = {}
        self._names: dict[int, str] = {}
        self.refresh()

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "_index": self._index, "_names": self._names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._opened = {}

    def shards(self) -> dict[str, int]:
        """Return the names and sizes of the shards that there are."""
        found = sorted(self.folder.glob("shard-*.safetensors"))
        return {path.name: path.stat().st_size for path in found}

    def refresh(self) -> None:
        """See what others have written since; a shard that was cut short is removed."""
        shards = self.shards()
        path = self.folder / f"index-{digest(shards)}.sqlite"
        if not _is_whole(path):
            remove_left(self.folder)
            old = _newest(self.folder, shards)
            write_whole(path, lambda partial: _write_index(partial, self.folder, shards, old))
            indexes = sorted(self.folder.glob("index-*.sqlite"), key=_age)
            for left in indexes[:-_KEPT_INDEXES]:
                left.unlink(missing_ok=True)
        self._index = path
        self._opened = {}
        rows = self._connect().execute("SELECT number, name FROM shards")
        self._names = dict(rows.fetchall())

    def _connect(self) -> sqlite3.Connection:
        """The connection of this process: one that was inherited must not be used."""
        found = self._opened.get(os.getpid())
        if found is None:
            found = _read_only(self._index)
            self._opened[os.getpid()] = found
        return found

    def has(self, name: str) -> bool:
        """Return whether there is an entry."""
        return self._find(name) is not None

    def _find(self, name: str) -> tuple[int, int, int] | None:
        query = "SELECT shard, start, size FROM entries WHERE name=?"
        return self._connect().execute(query, (name,)).fetchone()

    def get(self, name: str) -> dict[str, Tensor] | None:
        """Return an entry, or None if there is none or it is damaged.

        The shard of a damaged one is removed, so that the next start makes anew what it held.
        """
        found = self._find(name)
        if found is None:
            return None
        shard, start, size = found
        path = self.folder / self._names[shard]
        try:
            with path.open("rb") as file:
                file.seek(start)
                return load(file.read(size))
        except SafetensorError:
            with suppress(OSError):
                path.unlink()
        except OSError:
            pass
        return None

    @contextmanager
    def writer(self) -> Iterator["ShardWriter"]:
        """Yield a writer of entries, all of which are on disk when the block ends, however it does.

        They are found, here and by others, after `refresh`.

        Raises:
            OSError: as `ShardWriter.flush` says.
        """
        writer = ShardWriter(self.folder)
        try:
            yield writer
        finally:
            writer.flush()


class ShardWriter:
    """Gathers entries until they make a shard."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._entries: dict[str, Tensor] = {}
        self._bytes = 0
        self._since = time.monotonic()

    def put(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Add an entry; OSError as `flush` says, where that makes a shard whole."""
        data = save({key: value.detach().cpu().contiguous() for key, value in tensors.items()})
        self._entries[name] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        self._bytes += len(data)
        waited = time.monotonic() - self._since
        if self._bytes >= _SHARD_BYTES or waited >= _SHARD_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered.

        Raises:
            OSError: the disk is nearly full; what was written before stays.
        """
        self._since = time.monotonic()
        if not self._entries:
            return
        free = shutil.disk_usage(self._folder).free
        if free < _RESERVE_BYTES:
            raise OSError(
                f"The disk of {self._folder} has {free / 1024**3:.1f} GiB left, and "
                f"{_RESERVE_BYTES / 1024**3:.0f} are kept for checkpoints; free some, or name "
                f"another folder with --cache_dir."
            )
        entries, self._entries, self._bytes = self._entries, {}, 0
        write_tensors(self._folder / f"shard-{uuid4().hex}.safetensors", entries)


def _read_only(path: Path) -> sqlite3.Connection:
    where = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    return sqlite3.connect(where, uri=True, check_same_thread=False)


def _age(path: Path) -> float:
    return path.stat().st_mtime


def _is_whole(path: Path) -> bool:
    try:
        with closing(_read_only(path)) as connection:
            connection.execute("SELECT name FROM entries LIMIT 1").fetchone()
    except sqlite3.DatabaseError:
        return False
    return True


def _newest(folder: Path, shards: Mapping[str, int]) -> Path | None:
    """The newest index of none but these shards, which a new one can begin with."""
    for path in sorted(folder.glob("index-*.sqlite"), key=_age, reverse=True):
        try:
            with closing(_read_only(path)) as connection:
                known = dict(connection.execute("SELECT name, size FROM shards").fetchall())
        except sqlite3.DatabaseError:
            continue
        if known.items() <= shards.items():
            return path
    return None


def _write_index(path: Path, folder: Path, shards: Mapping[str, int], old: Path | None) -> None:
    if old is not None:
        shutil.copyfile(old, path)
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?nolock=1", uri=True)
    with closing(connection), connection:
        connection.execute("PRAGMA journal_mode=OFF")
        if old is None:
            connection.executescript(_SCHEMA)
        known = {name for (name,) in connection.execute("SELECT name FROM shards")}
        for name, size in shards.items():
            if name in known:
                continue
            entries = _entries(folder / name, size)
            if entries is None:
                (folder / name).unlink(missing_ok=True)
                continue
            query = "INSERT INTO shards (name, size) VALUES (?, ?)"
            number = connection.execute(query, (name, size)).lastrowid
            rows = ((entry, number, start, end - start) for entry, start, end in entries)
            connection.executemany("INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?)", rows)


def _entries(path: Path, size: int) -> list[tuple[str, int, int]] | None:
    """Names, first and last bytes of the entries of a shard, or None if it is not whole."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, size)))
        begin = 8 + length
        found = [(name, *about["data_offsets"]) for name, about in header.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if begin + max((end for _, _, end in found), default=0) != size:
        return None
    return [(name, begin + start, begin + end) for name, start, end in found]
