"""Memory that threads share: who needs more than is left waits for the others."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition


class Room:
    """An amount of which parts are lent; a part that is larger than all is lent alone."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._left = size
        self._changed = Condition()

    @contextmanager
    def take(self, amount: int) -> Iterator[None]:
        """Yield once an amount is free, and lend it until the block ends."""
        amount = min(amount, self._size)
        with self._changed:
            self._changed.wait_for(lambda: self._left >= amount)
            self._left -= amount
        try:
            yield
        finally:
            with self._changed:
                self._left += amount
                self._changed.notify_all()
