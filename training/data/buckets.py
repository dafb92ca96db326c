"""Buckets: the few sizes that pictures of many shapes are trained at."""

import math
from collections.abc import Sequence

from .pictures import Size


def buckets(resolution: int, step: int = 64, ratio: float = 2.0) -> list[Size]:
    """Sizes (height, width) of about resolution^2 pixels, multiples of `step`, up to 1:`ratio`."""
    found = set()
    for width in range(step, int(resolution * math.sqrt(ratio)) + step, step):
        height = int(resolution**2 / width) // step * step
        if height and max(width / height, height / width) <= ratio:
            found |= {(height, width), (width, height)}
    return sorted(found | {(resolution, resolution)})


def nearest_bucket(size: Size, choices: list[Size]) -> Size:
    """The bucket whose shape is closest to `size` (height, width)."""
    aspect = math.log(size[1] / size[0])
    return min(choices, key=lambda b: (abs(math.log(b[1] / b[0]) - aspect), -b[0] * b[1]))


def assign_buckets(sizes: Sequence[Size], choices: Sequence[Size], batch: int) -> list[Size]:
    """A bucket for every picture; buckets with less than one batch join their nearest neighbour."""
    choices = list(choices)
    while True:
        assigned = [nearest_bucket(size, choices) for size in sizes]
        counts = {bucket: assigned.count(bucket) for bucket in set(assigned)}
        small = min(counts, key=lambda bucket: (counts[bucket], bucket))
        if counts[small] >= batch or len(counts) == 1:
            return assigned
        choices = sorted(counts.keys() - {small})
