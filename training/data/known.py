"""What checks have found before, so that a picture is checked once, however often a check stops."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .catalogue import Entry
from .records import Digests


@dataclass(frozen=True)
class Skipped:
    """A sample that cannot be used, and why."""

    key: str
    reason: str


Verdict = Entry | Skipped

_WAIT = 60.0  # seconds, for another process that writes


class Known:
    """Verdicts by names of rows, in a file that several processes may write to.

    It is a memory and no more: where the file is damaged, it starts anew.

    Raises:
        sqlite3.OperationalError: it can be neither read nor written; also as all methods do.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = _connect(path)
        except sqlite3.OperationalError:  # another process writes, or the disk is full
            raise
        except sqlite3.DatabaseError:
            path.unlink(missing_ok=True)
            self._connection = _connect(path)

    def find(self, names: Sequence[str]) -> dict[str, Verdict]:
        """Return the verdicts that there are."""
        marks = ", ".join("?" * len(names))
        query = f"SELECT name, verdict FROM verdicts WHERE name IN ({marks})"
        return {name: _read(text) for name, text in self._connection.execute(query, names)}

    def add(self, verdicts: Mapping[str, Verdict]) -> None:
        """Keep verdicts, all or none of them."""
        rows = [(name, _written(verdict)) for name, verdict in verdicts.items()]
        with self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO verdicts VALUES (?, ?)", rows)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_WAIT)
    connection.execute(
        "CREATE TABLE IF NOT EXISTS verdicts (name TEXT PRIMARY KEY, verdict TEXT) WITHOUT ROWID"
    )
    return connection


def _written(verdict: Verdict) -> str:
    return json.dumps(asdict(verdict))


def _read(text: str) -> Verdict:
    found = json.loads(text)
    if "reason" in found:
        return Skipped(**found)
    size, digests = tuple(found.pop("size")), Digests(*found.pop("digests"))
    return Entry(size=size, digests=digests, **found)
