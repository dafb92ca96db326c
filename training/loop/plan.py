"""Which samples each step sees: a pure function of (seed, step)."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ..data.augment import Size, nearest_bucket

# Keys that keep the draws of different purposes apart.
ORDER, MASK, NOISE, TEXT, CROP, VALIDATION = range(6)


def generator(*key: int) -> np.random.Generator:
    """The random generator of one purpose, whatever was drawn before."""
    return np.random.default_rng(key)


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


class EpochPlan:
    """Each epoch: every bucket shuffled and cut into global batches, the batches shuffled.

    A bucket's last batch is filled up from its beginning, so no picture is ever left out.
    """

    def __init__(self, buckets: Sequence[Size], batch: int, seed: int) -> None:
        self._batch = batch
        self._seed = seed
        self._members = [
            np.array([i for i, bucket in enumerate(buckets) if bucket == wanted])
            for wanted in sorted(set(buckets))
        ]
        self.steps_per_epoch = sum(-(-len(members) // batch) for members in self._members)
        self._epoch = lru_cache(maxsize=2)(self._draw_epoch)

    def step(self, step: int) -> list[int]:
        """The samples of one optimiser step, all of one bucket."""
        epoch, within = divmod(step, self.steps_per_epoch)
        return self._epoch(epoch)[within].tolist()

    def _draw_epoch(self, epoch: int) -> list[np.ndarray]:
        rng = generator(self._seed, ORDER, epoch)
        batches = []
        for members in self._members:
            order = rng.permutation(members)
            count = -(-len(order) // self._batch) * self._batch
            batches += list(np.resize(order, count).reshape(-1, self._batch))
        return [batches[i] for i in rng.permutation(len(batches))]
