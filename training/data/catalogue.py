"""The samples of a data set that can be used, as a table on disk.

A run keeps none of it in memory: ten million rows take a process no more than a thousand.
"""

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .digests import Folded
from .pictures import Size
from .records import Digests, Row

_CACHE_KIB = 256  # the system keeps the file at hand, for all processes at once
_SCHEMA = """
CREATE TABLE samples (
    number INTEGER PRIMARY KEY, row TEXT, key TEXT, caption TEXT, height INTEGER, width INTEGER,
    image TEXT, condition TEXT, masks TEXT, count INTEGER, black INTEGER, white INTEGER
);
CREATE TABLE skipped (key TEXT, reason TEXT);
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT);
"""


@dataclass(frozen=True)
class Entry:
    """What a check has found of a sample that can be used.

    size: height and width. masks: how many there are; black, white: how many of them are nothing
    else.
    """

    key: str
    caption: str
    size: Size
    digests: Digests
    masks: int = 0
    black: int = 0
    white: int = 0


class CatalogueWriter:
    """A catalogue while it is written, into a file that nobody else knows."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?nolock=1", uri=True)
        self._connection.executescript(f"PRAGMA journal_mode=OFF; {_SCHEMA}")
        self._number = 0
        parts = ("pictures", "captions", "conditions", "masks")
        self._identity = {part: Folded() for part in parts}

    def add(self, row: Row, entry: Entry) -> None:
        """Append a sample."""
        found = entry.digests
        values = (json.dumps(row), entry.key, entry.caption, *entry.size, *found)
        counts = (entry.masks, entry.black, entry.white)
        marks = ", ".join("?" * 12)
        self._connection.execute(
            f"INSERT INTO samples VALUES ({marks})", (self._number, *values, *counts)
        )
        self._number += 1
        parts = ((entry.key, found.image), entry.caption, found.condition, found.masks)
        for folded, part in zip(self._identity.values(), parts, strict=True):
            folded.add(part)

    def skip(self, key: str, reason: str) -> None:
        """Note that a sample cannot be used."""
        self._connection.execute("INSERT INTO skipped VALUES (?, ?)", (key, reason))

    def close(self, passed_over: Mapping[str, int]) -> None:
        """Finish the file."""
        identity = {part: folded.name() for part, folded in self._identity.items()}
        about = {"identity": identity, "passed_over": dict(passed_over)}
        rows = [(name, json.dumps(value)) for name, value in about.items()]
        self._connection.executemany("INSERT INTO about VALUES (?, ?)", rows)
        self._connection.commit()
        self._connection.close()


class Catalogue:
    """A finished catalogue; it pickles, and every process opens it anew.

    Raises:
        sqlite3.DatabaseError: it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened: dict[int, sqlite3.Connection] = {}
        with closing(self._connect().execute("SELECT value FROM about WHERE name='identity'")) as c:
            if c.fetchone() is None:
                raise sqlite3.DatabaseError(f"{path} is not finished")

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.path = state["path"]
        self._opened = {}

    def _connect(self) -> sqlite3.Connection:
        """The connection of this process: one that was inherited must not be used."""
        found = self._opened.get(os.getpid())
        if found is None:
            where = f"{self.path.absolute().as_uri()}?mode=ro&immutable=1"
            found = sqlite3.connect(where, uri=True, check_same_thread=False)
            found.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
            self._opened[os.getpid()] = found
        return found

    def __len__(self) -> int:
        return len(self.sizes)

    def entry(self, number: int) -> Entry:
        """Return what is known of a sample."""
        query = (
            "SELECT key, caption, height, width, image, condition, masks, count, black, white "
            "FROM samples WHERE number=?"
        )
        found = self._connect().execute(query, (int(number),)).fetchone()
        key, caption, height, width, image, condition, masks, *counts = found
        digests = Digests(image, condition, masks)
        return Entry(key, caption, (height, width), digests, *counts)

    def row(self, number: int) -> Row:
        """Return what says where a sample is."""
        query = "SELECT row FROM samples WHERE number=?"
        return json.loads(self._connect().execute(query, (int(number),)).fetchone()[0])

    @cached_property
    def sizes(self) -> np.ndarray:
        """Return the heights and widths of all samples, int32 [N,2] in px."""
        rows = self._connect().execute("SELECT height, width FROM samples ORDER BY number")
        pairs = np.fromiter((side for row in rows for side in row), np.int32)
        return pairs.reshape(-1, 2)

    def keys(self) -> Iterator[str]:
        """Yield every key, in order."""
        for (key,) in self._connect().execute("SELECT key FROM samples ORDER BY number"):
            yield key

    def captions(self) -> Iterator[str]:
        """Yield every caption once, and the empty one."""
        query = "SELECT caption FROM samples UNION SELECT ''"
        for (caption,) in self._connect().execute(query):
            yield caption

    def count(self, condition: str) -> int:
        """Return how many samples meet a condition in SQL."""
        query = f"SELECT COUNT(*) FROM samples WHERE {condition}"
        return self._connect().execute(query).fetchone()[0]

    def skipped(self, most: int) -> list[tuple[str, str]]:
        """Return keys of samples that cannot be used and why, of the first `most` of them."""
        rows = self._connect().execute("SELECT key, reason FROM skipped LIMIT ?", (most,))
        return rows.fetchall()

    def skipped_count(self) -> int:
        """Return how many samples cannot be used."""
        return self._connect().execute("SELECT COUNT(*) FROM skipped").fetchone()[0]

    @property
    def identity(self) -> dict[str, str]:
        """Return a name for all pictures, and for all captions, conditions and masks, in order."""
        return self._about("identity")

    @property
    def passed_over(self) -> dict[str, int]:
        """Return what was found beside the samples and is not read, and how often."""
        return self._about("passed_over")

    def _about(self, name: str) -> Any:
        query = "SELECT value FROM about WHERE name=?"
        return json.loads(self._connect().execute(query, (name,)).fetchone()[0])
