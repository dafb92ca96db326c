"""What data says of itself, as messages may show it: in one line, never long, never in control."""

import reprlib
from typing import Any


def shown(value: Any, limit: int = 120) -> str:
    """Return a value as one printable line of about `limit` characters at most."""
    text = value if isinstance(value, str) else reprlib.repr(value)
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[: limit + 1])
    return f"{line[:limit]}..." if len(line) > limit else line
