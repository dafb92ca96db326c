"""Paired augmentation: picture, condition and masks are cropped and flipped as one."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.random import Generator

from .pictures import Size
from .records import Sample


@dataclass(frozen=True)
class Crop:
    """What became of a picture: SDXL is told `original`, `seen_corner` and `size` as its time ids.

    original: (height, width) before; corner: (top, left) of the crop in the scaled picture;
    size: (height, width) after; flipped: mirrored when it was cut.
    """

    original: Size
    corner: tuple[int, int]
    size: Size
    flipped: bool

    @property
    def scale(self) -> float:
        """Return the factor by which the picture is scaled before the cut, to cover `size`."""
        return max(self.size[0] / self.original[0], self.size[1] / self.original[1])

    @property
    def scaled(self) -> Size:
        """Return the (height, width) of the scaled picture, before the cut."""
        height, width = (
            max(cut, round(side * self.scale))
            for cut, side in zip(self.size, self.original, strict=True)
        )
        return height, width

    @property
    def seen_corner(self) -> tuple[int, int]:
        """Return `corner` in the picture as it is seen: mirrored, if that was done to it."""
        top, left = self.corner
        return top, self.scaled[1] - self.size[1] - left if self.flipped else left


def plan_crop(original: Size, size: Size, rng: Generator, random: bool, flip: bool) -> Crop:
    """Return where to cut `size` out of a picture of size `original`, scaled to cover it.

    Sizes are (height, width). random: anywhere, else in the middle. flip: mirror half of them.
    """
    scale = max(size[0] / original[0], size[1] / original[1])
    room = [max(0, round(o * scale) - s) for o, s in zip(original, size, strict=True)]
    draws = rng.random(3)  # always three, so that options do not shift later draws
    corner = [int(d * (r + 1)) if random else r // 2 for d, r in zip(draws, room, strict=False)]
    return Crop(original, (corner[0], corner[1]), size, bool(flip and draws[2] < 0.5))


def apply_crop(
    array: np.ndarray,
    crop: Crop,
    enlarging: int = cv2.INTER_CUBIC,
    shrinking: int = cv2.INTER_AREA,
) -> np.ndarray:
    """Return an array [H,W] or [H,W,C] scaled, cut and flipped as the plan says.

    enlarging, shrinking: cv2's interpolations.
    """
    height, width = crop.size
    interpolation = shrinking if crop.scale < 1 else enlarging
    if array.shape[:2] != crop.scaled:
        array = cv2.resize(array, crop.scaled[::-1], interpolation=interpolation)
    top, left = crop.corner
    array = array[top : top + height, left : left + width]
    return np.ascontiguousarray(array[:, ::-1] if crop.flipped else array)


def crop_sample(sample: Sample, crop: Crop) -> Sample:
    """Return all parts of a sample under one crop.

    Conditions are scaled as ComfyUI scales them for sampling, to the nearest pixel.
    """
    condition = sample.condition
    nearest = (cv2.INTER_NEAREST_EXACT, cv2.INTER_NEAREST_EXACT)
    masks = [apply_crop(mask, crop, cv2.INTER_LINEAR) for mask in sample.masks]
    return replace(
        sample,
        image=apply_crop(sample.image, crop),
        condition=None if condition is None else apply_crop(condition, crop, *nearest),
        masks=np.stack(masks) if masks else np.zeros((0, *crop.size), np.uint8),
    )
