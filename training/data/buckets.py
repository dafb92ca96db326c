"""Buckets: the few sizes that pictures of many shapes are trained at."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from .pictures import Size


@dataclass(frozen=True)
class Assigned:
    """The bucket of every picture: `sizes` (height, width), and the place of each in them [N]."""

    sizes: tuple[Size, ...]
    places: np.ndarray

    @classmethod
    def of(cls, buckets: Iterable[Size]) -> Self:
        """Return what is assigned one by one."""
        found = list(buckets)
        sizes = tuple(sorted(set(found)))
        return cls(sizes, np.array([sizes.index(size) for size in found], np.uint16))

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Size:
        return self.sizes[self.places[index]]

    def members(self) -> Iterator[np.ndarray]:
        """Yield the pictures of each bucket that has some, in the order of their sizes."""
        for place in np.argsort([height * 2**32 + width for height, width in self.sizes]):
            found = np.flatnonzero(self.places == place).astype(np.int32)
            if len(found):
                yield found


def buckets(resolution: int, step: int = 64, ratio: float = 2.0) -> list[Size]:
    """Return the sizes (height, width) of at most about resolution^2 px, up to 1:`ratio`, sorted.

    Sides are multiples of `step` px; the square is always among them.
    """
    found = set()
    for width in range(step, int(resolution * math.sqrt(ratio)) + step, step):
        height = int(resolution**2 / width) // step * step
        if height and max(width / height, height / width) <= ratio:
            found |= {(height, width), (width, height)}
    return sorted(found | {(resolution, resolution)})


def nearest_bucket(size: Size, choices: list[Size]) -> Size:
    """Return the bucket whose aspect ratio is closest to that of `size` (height, width)."""
    aspect = math.log(size[1] / size[0])
    return min(choices, key=lambda b: (abs(math.log(b[1] / b[0]) - aspect), -b[0] * b[1]))


def assign_buckets(sizes: np.ndarray, choices: Sequence[Size], batch: int) -> Assigned:
    """Return a bucket for every picture, whose heights and widths are `sizes` [N,2].

    Buckets with less than one batch join their nearest neighbour.
    """
    shapes, which = np.unique(sizes, axis=0, return_inverse=True)
    counts = np.bincount(which.ravel(), minlength=len(shapes))
    left = list(choices)
    while True:
        near = [left.index(nearest_bucket((int(h), int(w)), left)) for h, w in shapes]
        filled = np.bincount(near, weights=counts, minlength=len(left))
        used = [place for place in range(len(left)) if filled[place]]
        small = min(used, key=lambda place: (filled[place], left[place]))
        if filled[small] >= batch or len(used) == 1:
            return Assigned(tuple(left), np.array(near, np.uint16)[which.ravel()])
        left = sorted(left[place] for place in used if place != small)
