"""Names for contents: what has the same digest was made from the same."""

import hashlib
import json
from typing import Any


def digest(*parts: Any) -> str:
    """Return a name of 32 hex digits for what `parts` (JSON values, bytes) determine."""
    hasher = hashlib.sha256()
    for part in parts:
        content = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True).encode()
        hasher.update(len(content).to_bytes(8, "little"))
        hasher.update(content)
    return hasher.hexdigest()[:32]


def number(name: str) -> int:
    """Return a number below 2^32 that a name determines, for the key of a random stream."""
    return int(digest(name)[:8], 16)


class Folded:
    """A name for a sequence of parts, each of which is given once and not kept."""

    def __init__(self) -> None:
        self._hasher = hashlib.sha256()

    def add(self, *parts: Any) -> None:
        """Append a part of the sequence."""
        self._hasher.update(digest(*parts).encode())

    def name(self) -> str:
        """Return the name of all that was added."""
        return self._hasher.hexdigest()[:32]
