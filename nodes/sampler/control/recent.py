"""What was made or used last, and no more of it than so much."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar

T = TypeVar("T")


class Recent(OrderedDict[Hashable, T]):
    """The things that were made or used last; the oldest go, handed to `drop`."""

    def __init__(self, most: int, drop: Callable[[T], None] = lambda _: None) -> None:
        super().__init__()
        self._most = most
        self._drop = drop

    def get_or(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what stands under a key, made by `make` if nothing does."""
        if key not in self:
            while len(self) >= self._most:
                self._drop(self.popitem(last=False)[1])
            self[key] = make()
        self.move_to_end(key)
        return self[key]

    def forget(self) -> None:
        """Drop all."""
        while self:
            self._drop(self.popitem()[1])
