"""Means over steps, gathered where they are computed so that nobody waits for them."""

from collections.abc import Mapping

import torch
from torch import Tensor


class Means:
    """Running sums of scalars by name."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add the scalars of one step."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value
        self._count += 1

    def take(self) -> dict[str, Tensor]:
        """Return the means of what was added since the last time."""
        found = {name: value / self._count for name, value in self._sums.items()}
        self._sums, self._count = {}, 0
        return found
