"""Where shards are: in a folder, or in a store that fsspec reads, such as S3, GCS or HTTP."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import fsspec

from .contents import Content, FileContent, Slice, open_file, whole
from .records import DatasetError
from .words import shown

# What stores tell of a file that is another one when its contents are.
_MARKS = ("size", "etag", "mtime", "last_modified", "lastmodified", "updated", "created", "md5hash")


class UnreachableError(Exception):
    """A store that gives no answer: no fault of a sample, so no sample is passed over for it."""


class Shard(Protocol):
    """A tar file that can be opened, and whose parts can be read alone; it pickles."""

    @property
    def name(self) -> str:
        """Return what it is called among the others."""
        ...

    @property
    def place(self) -> str:
        """Return where it is, for messages."""
        ...

    def open(self) -> BinaryIO:
        """Return it as a file."""
        ...

    def part(self, offset: int, size: int) -> Content:
        """Return some of its bytes."""
        ...

    def stamp(self) -> str:
        """Return what changes when it does."""
        ...


@dataclass(frozen=True)
class LocalShard:
    """A shard in a folder."""

    path: Path

    @property
    def name(self) -> str:
        """Return the name of the file."""
        return self.path.name

    @property
    def place(self) -> str:
        """Return the folder."""
        return str(self.path.parent)

    def open(self) -> BinaryIO:
        """Return it opened; OSError, ValueError: it is no file."""
        return open_file(self.path)

    def part(self, offset: int, size: int) -> Slice:
        """Return some of its bytes."""
        return Slice(self.path, offset, size)

    def stamp(self) -> str:
        """Return where it is and what changes with it."""
        return FileContent(self.path).stamp()


@dataclass(frozen=True)
class RemoteShard:
    """A shard by its address; mark: what its store told of it when it was listed."""

    url: str
    mark: str

    @property
    def name(self) -> str:
        """Return the last part of the address."""
        return self.url.rpartition("/")[2]

    @property
    def place(self) -> str:
        """Return the address without its last part."""
        return self.url.rpartition("/")[0]

    def open(self) -> BinaryIO:
        """Return it opened; what is read of it is fetched then."""
        with _answering(self.url):
            store, path = fsspec.url_to_fs(self.url)
            return store.open(path, "rb")

    def part(self, offset: int, size: int) -> "RemoteSlice":
        """Return some of its bytes."""
        return RemoteSlice(self.url, self.mark, offset, size)

    def stamp(self) -> str:
        """Return its address and what changes with it."""
        return f"{self.url} {self.mark}"


@dataclass(frozen=True)
class RemoteSlice:
    """A part of a shard in a store; it alone is fetched."""

    url: str
    mark: str
    offset: int
    size: int

    def open(self) -> BinaryIO:
        """Return it as a file.

        Raises:
            ValueError: it is too large, or not within the shard.
            UnreachableError: the store gives no answer.
        """
        return whole(self._read, self.size, self.url)

    def _read(self) -> bytes:
        with _answering(self.url):
            store, path = fsspec.url_to_fs(self.url)
            return store.cat_file(path, self.offset, self.offset + self.size)

    def length(self) -> int:
        """Return how many bytes it has."""
        return self.size

    def stamp(self) -> str:
        """Return where it is and what changes with its shard."""
        return f"{self.url} {self.offset} {self.size} {self.mark}"


def remote_shards(url: str) -> list[RemoteShard]:
    """Return the shards that an address with perhaps a pattern names, by their names.

    Raises:
        DatasetError: there are none, or the library of such a store is missing.
        UnreachableError: the store gives no answer.
    """
    try:
        store, pattern = fsspec.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise DatasetError(
            f"--shards_url {shown(url)} cannot be opened ({error}); name an address that fsspec "
            f"knows, such as s3://bucket/shards/*.tar."
        ) from error
    with _answering(url):
        found = store.glob(pattern, detail=True)
    shards = [
        RemoteShard(store.unstrip_protocol(path), _mark(about))
        for path, about in sorted(found.items())
        if path.endswith(".tar")
    ]
    if not shards:
        raise DatasetError(f"--shards_url {shown(url)} names no .tar; write .../*.tar.")
    names = [shard.name for shard in shards]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DatasetError(f"--shards_url has two shards called {shown(twice[0])}; rename one.")
    return shards


def local_shards(paths: Sequence[Path]) -> list[LocalShard]:
    """Return shards in a folder."""
    return [LocalShard(path) for path in paths]


def _mark(about: dict[str, Any]) -> str:
    """What a store tells of a file that changes with it."""
    told = {key.lower(): str(value) for key, value in about.items()}
    return " ".join(told[key] for key in _MARKS if key in told)


@contextmanager
def _answering(url: str) -> Iterator[None]:
    """Around a question to a store: each has errors of its own."""
    try:
        yield
    except Exception as error:
        raise UnreachableError(
            f"{shown(url)} cannot be read ({type(error).__name__}: {shown(str(error), 200)}); see "
            f"whether it is there and may be read, and start again: what was checked and encoded "
            f"stays."
        ) from error
