"""A wish to stop that waits for the end of a step."""

import logging
import signal
from typing import Any

log = logging.getLogger(__name__)


class StopSignal:
    """Context manager that turns SIGTERM and Ctrl+C into a wish to stop after the current step.

    Example:
        with StopSignal() as stop:
            for step in steps:
                ...
                if stop.wanted:
                    state.save(folder)
                    break
    """

    _SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.wanted = False
        self._before: list[Any] = []

    def __enter__(self) -> "StopSignal":
        self._before = [signal.signal(number, self._note) for number in self._SIGNALS]
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in zip(self._SIGNALS, self._before, strict=True):
            signal.signal(number, handler)

    def _note(self, number: int, _frame: object) -> None:
        log.warning("%s: saving after this step.", signal.Signals(number).name)
        self.wanted = True
