"""Captions as tables and text files hold them."""

from typing import Any


def as_caption(value: Any) -> str:
    """Return what a cell of a caption column says; of several captions the first.

    Raises:
        ValueError: it is no text, or holds half of a character.
    """
    if isinstance(value, list):
        value = next(iter(value), None)
    if not isinstance(value, str | int | float | None):
        raise ValueError(f"its caption is a {type(value).__name__}, no text")
    text = "" if value is None else str(value)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"its caption has half a character (a lone surrogate) at {error.start}"
        ) from None
    return text


def decode_text(data: bytes, name: str) -> str:
    """Return UTF-8 text, written with or without a byte order mark.

    Raises:
        ValueError: `name`, the file's, is no UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{name} is no UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from None
