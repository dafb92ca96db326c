"""JSON as data sets bring it: read line by line, or whole, and never trusted to be sound."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .captions import decode_text
from .contents import open_file
from .records import DatasetError, Row
from .words import shown

_MOST_LINE = 2**24


def parse(text: str) -> Any:
    """Return what JSON says.

    Raises:
        ValueError: it is none, or nested too deep.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def read_jsonl(path: Path) -> Iterator[Row]:
    """Yield the objects of a JSON Lines file; DatasetError names the line that is none."""
    found = False
    # Not splitlines: JSON strings may hold what Unicode counts as an end of a line.
    with open_file(path) as file:
        for number, line in enumerate(iter(lambda: file.readline(_MOST_LINE), b""), 1):
            if not line.strip():
                continue
            try:
                row = parse(decode_text(line, f"line {number}"))
            except ValueError as error:
                raise DatasetError(
                    f"{path}, line {number} is no JSON ({shown(str(error))})."
                ) from None
            if not isinstance(row, dict):
                raise DatasetError(f"{path}, line {number} is no JSON object.")
            found = True
            yield row
    if not found:
        raise DatasetError(f"{path} is empty; write one JSON object a line.")


def read_json(path: Path) -> Any:
    """Return what a JSON file says; DatasetError if it is none."""
    try:
        with open_file(path) as file:
            return parse(decode_text(file.read(), path.name))
    except ValueError as error:
        raise DatasetError(f"{path} is no JSON ({shown(str(error))}).") from None
