"""Which samples each step sees: a pure function of (seed, step)."""

from functools import lru_cache

import numpy as np

from ..data.buckets import Assigned
from ..data.random_streams import ORDER, generator


class EpochPlan:
    """Each epoch: every bucket shuffled and cut into global batches, the batches shuffled.

    A bucket's last batch is filled up from its beginning, so no picture is ever left out.
    """

    def __init__(self, buckets: Assigned, batch: int, seed: int) -> None:
        self._batch = batch
        self._seed = seed
        self._members = list(buckets.members())
        self.steps_per_epoch = sum(-(-len(members) // batch) for members in self._members)
        self._epoch = lru_cache(maxsize=2)(self._draw_epoch)

    def step(self, step: int) -> list[int]:
        """Return the samples of one optimiser step, all of one bucket."""
        epoch, within = divmod(step, self.steps_per_epoch)
        return self._epoch(epoch)[within].tolist()

    def _draw_epoch(self, epoch: int) -> np.ndarray:
        """The samples of every step of an epoch, int32 [steps, batch]."""
        rng = generator(self._seed, ORDER, epoch)
        batches = []
        for members in self._members:
            order = rng.permutation(members)
            count = -(-len(order) // self._batch) * self._batch
            batches.append(np.resize(order, count).reshape(-1, self._batch))
        found = np.concatenate(batches)
        return found[rng.permutation(len(found))]
