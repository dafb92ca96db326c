"""Pictures and mask pictures: opened, turned upright, brought to 8 bits a channel."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
Opener = Callable[[], Image.Image]
Size = tuple[int, int]  # height, width


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


def to_rgb(image: Image.Image) -> np.ndarray:
    """Return a picture upright as RGB uint8 [H,W,3]; transparency is laid on white."""
    image = upright(image)
    if image.mode in ("RGBA", "LA", "P", "PA"):
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return np.array(image.convert("RGB"))


def stack_masks(pictures: Iterable[Image.Image], size: Size) -> np.ndarray:
    """Return mask pictures as masks [K,H,W] in 0..1.

    Raises:
        ValueError: one is of another size than the picture, or marks with another colour than
            white.
    """
    masks = []
    for picture in pictures:
        mask = _to_mask(picture)
        if mask.shape != size:
            raise ValueError(
                f"the mask is {mask.shape[1]} x {mask.shape[0]}, the picture {size[1]} x {size[0]}"
            )
        masks.append(mask)
    return np.stack(masks) if masks else np.zeros((0, *size), np.float32)


def _to_mask(picture: Image.Image) -> np.ndarray:
    """Upright [H,W] in 0..1; transparency is laid on black, and of 0 and 1 alone 1 is white.

    Raises:
        ValueError: it is dark everywhere, but not black, so white is not what it marks with.
    """
    mask = upright(picture)
    if mask.mode in ("RGBA", "LA", "P", "PA"):
        rgba = mask.convert("RGBA")
        mask = Image.alpha_composite(Image.new("RGBA", rgba.size, "black"), rgba)
    values = np.asarray(mask.convert("L"), np.float32)
    top = values.max()
    if top == 1:
        return values
    if 0 < top < 128:
        raise ValueError(
            f"its mask is nowhere brighter than {top:g} of 255; white (255) is what may be "
            f"controlled"
        )
    return values / 255


@dataclass(frozen=True)
class PictureFile:
    """A file as an opener."""

    path: Path

    def __call__(self) -> Image.Image:
        """Return the opened picture."""
        return Image.open(self.path)


@dataclass(frozen=True)
class MaskPictures:
    """Mask pictures (white = controlled) as a reader of masks."""

    openers: tuple[Opener, ...]

    def __call__(self, size: Size) -> np.ndarray:
        """Return masks [K,H,W]; ValueError if one does not fit a picture of `size`."""
        return stack_masks((opener() for opener in self.openers), size)
