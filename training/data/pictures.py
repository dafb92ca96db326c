"""Pictures: opened if they are of a known format and size, upright, with 8 bits a channel."""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# Those of pictures, and no more: Pillow would hand an EPS, whatever its name, to Ghostscript.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
# As many as Pillow reads without a warning.
MAX_PIXELS = 89_478_485
# Bytes a pixel that decoding takes: three or four, and as many again twice while transparency is
# laid on a ground, or 16 bits are scaled.
DECODING = 12
Size = tuple[int, int]  # height, width
# What decoders raise of damaged files, beside OSError and ValueError; of AVIF it is RuntimeError.
_DAMAGED = (
    EOFError,
    LookupError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    TypeError,
    struct.error,
)


@cache
def formats() -> tuple[str, ...]:
    """Return the formats that are read, of those that this Pillow can."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


@cache
def suffixes() -> frozenset[str]:
    """Return how files of these formats are called."""
    known = Image.registered_extensions()
    return frozenset(suffix for suffix, name in known.items() if name in formats())


@contextmanager
def decoding() -> Iterator[None]:
    """Yield to what decodes a picture: whatever it raises of a damaged one is a ValueError."""
    try:
        yield
    except _DAMAGED as error:
        raise ValueError(f"it is damaged ({type(error).__name__}: {error})") from error


@decoding()
def open_picture(file: BinaryIO) -> Image.Image:
    """Return a picture whose format and size are known, and which is not decoded yet.

    Raises:
        ValueError: it is of no format that is read, or too large.
    """
    try:
        image = Image.open(file, formats=formats())
    except UnidentifiedImageError:
        raise ValueError(f"it is none of {', '.join(formats())}, or damaged") from None
    except Image.DecompressionBombError:
        raise ValueError(
            f"it has more than {MAX_PIXELS // 10**6} megapixels; scale it down"
        ) from None
    check_area((image.height, image.width))
    return image


def check_area(size: Size) -> None:
    """Raise ValueError if a picture or mask of a size (height, width) has too many pixels."""
    if size[0] * size[1] > MAX_PIXELS:
        raise ValueError(
            f"it is {size[1]} x {size[0]}, more than {MAX_PIXELS // 10**6} megapixels; scale it "
            f"down"
        )


def decode(data: bytes) -> np.ndarray:
    """Return the bytes of a picture as RGB uint8 [H,W,3]."""
    return to_rgb(open_picture(io.BytesIO(data)))


def open_beside(data: bytes, size: Size, what: str) -> Image.Image:
    """Return a picture that is of the size (height, width) of another one, not decoded yet.

    It may still be turned: what EXIF says of that is known for sure once it is decoded, so whoever
    does that calls `check_same`.

    Raises:
        ValueError: it is none, or of another size; `what` it is called there.
    """
    image = open_picture(io.BytesIO(data))
    if sorted(image.size) != sorted(size):
        check_same((image.height, image.width), size, what)
    return image


def check_same(found: Size, size: Size, what: str) -> None:
    """Raise ValueError if two sizes (height, width) differ; `what` the first is called there."""
    if found != size:
        raise ValueError(
            f"the {what} is {found[1]} x {found[0]}, the picture {size[1]} x {size[0]}"
        )


def upright(image: Image.Image) -> Image.Image:
    """Return a picture as its EXIF turns it, with 8 bits a channel.

    Raises:
        ValueError: its values have no known white.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):  # Pillow would cut them off at 255
        return Image.fromarray((np.asarray(image, np.uint32) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"its mode is {image.mode}; save it with 8 or 16 bits a channel")
    return image


def on_ground(image: Image.Image, colour: str) -> Image.Image:
    """Return a picture with its transparency, by alpha or by a key colour, laid on a colour."""
    if not image.has_transparency_data:
        return image
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, colour), rgba)


@decoding()
def to_rgb(image: Image.Image) -> np.ndarray:
    """Return a picture upright as RGB uint8 [H,W,3]; transparency is laid on white."""
    return np.array(on_ground(upright(image), "white").convert("RGB"))


@decoding()
def to_colours(image: Image.Image) -> np.ndarray:
    """Return a picture upright as RGB uint8 [H,W,3] without its alpha, as ComfyUI loads it."""
    return np.array(upright(image).convert("RGB"))
