"""Mask pictures: white = controlled, whatever file they were drawn in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps

from .contents import Content, read
from .pictures import DECODING, Size, check_same, decoding, on_ground, open_beside, upright

# A picture has no more masks than this, nor more bytes of them.
_MOST = 1000
_MOST_BYTES = 2**30


class Masks(Protocol):
    """The masks of a picture; what holds them pickles."""

    def __len__(self) -> int:
        """Return how many there are."""
        ...

    def read(self) -> list[bytes]:
        """Return all that they are made from."""
        ...

    def footprint(self, size: Size) -> int:
        """Return about how many bytes it takes to draw them for a picture of `size`.

        Raises:
            OSError, ValueError: one cannot be read.
        """
        ...

    def draw(self, data: Sequence[bytes], size: Size) -> np.ndarray:
        """Return what was read as masks uint8 [K,H,W] of a picture of `size` (height, width).

        Raises:
            ValueError: one does not fit.
        """
        ...

    def stamp(self) -> str:
        """Return what changes when they may have changed."""
        ...


def check_masks(count: int, size: Size) -> None:
    """Raise ValueError if so many masks of a size (height, width) are more than can be meant."""
    if count > _MOST or count * size[0] * size[1] > _MOST_BYTES:
        raise ValueError(f"it has {count} masks of {size[1]} x {size[0]}, more than fit in 1 GiB")


@dataclass(frozen=True)
class MaskPictures:
    """Masks as pictures."""

    contents: tuple[Content, ...]

    def __len__(self) -> int:
        return len(self.contents)

    def read(self) -> list[bytes]:
        """Return the bytes of each."""
        return [read(content) for content in self.contents]

    def footprint(self, size: Size) -> int:
        """Return the bytes of their files and of the masks, and those of one while it is drawn."""
        lengths = sum(content.length() for content in self.contents)
        return lengths + (len(self) + DECODING) * size[0] * size[1]

    def draw(self, data: Sequence[bytes], size: Size) -> np.ndarray:
        """Return them as masks uint8 [K,H,W]; ValueError if one is of another size."""
        masks = np.empty((len(data), *size), np.uint8)
        for index, one in enumerate(data):
            mask = to_mask(open_beside(one, size, "mask"))
            check_same((mask.shape[0], mask.shape[1]), size, "mask")
            masks[index] = mask
        return masks

    def stamp(self) -> str:
        """Return what changes with the files."""
        return " ".join(content.stamp() for content in self.contents)


@decoding()
def to_mask(picture: Image.Image) -> np.ndarray:
    """Return a mask picture upright as uint8 [H,W].

    Transparency is laid on black; a mask that is black in colour and drawn in alpha is its alpha.
    Of 0 and 1 alone 1 is white.

    Raises:
        ValueError: it is dark everywhere, but not black, so white is not what it marks with; or
            that cannot be told.
    """
    # Pillow keeps 16 bits of gray alone, and of colours the higher 8.
    halved = picture.mode in ("RGB", "RGBA") and ";16" in str(getattr(picture, "tile", ""))
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I;16"):
        return _scaled(np.asarray(picture, np.uint32), 65535)
    picture = upright(picture)
    values = np.asarray(on_ground(picture, "black").convert("L"))
    if not values.any() and picture.has_transparency_data:
        alpha = np.asarray(picture.convert("RGBA").getchannel("A"))
        if alpha.min() != alpha.max():
            values = alpha
    if halved and not values.any():
        raise ValueError(
            "its mask is nowhere brighter than 255 of 65535; save it in gray, or with 8 bits a "
            "channel"
        )
    return _scaled(values, 255)


def _scaled(values: np.ndarray, white: int) -> np.ndarray:
    """Values of 0..white in 0..255."""
    top = int(values.max())
    if top == 1:
        return (values * 255).astype(np.uint8)
    if 0 < 2 * top < white:
        raise ValueError(
            f"its mask is nowhere brighter than {top} of {white}; white ({white}) is what may be "
            f"controlled"
        )
    return (values // (white // 255)).astype(np.uint8)
