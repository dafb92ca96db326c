"""A run of the experiment that other processes can import."""

import time
from dataclasses import dataclass
from pathlib import Path

from training.loop.stop_signal import StopSignal


@dataclass(frozen=True)
class SlowRun:
    """Stands for a run: tells that it has begun, and saves when it is told to stop."""

    folder: Path
    name: str

    def perform(self, settings):
        (self.folder / f"{self.name}.begun").touch()
        with StopSignal() as stop:
            for _ in range(600):
                if stop.wanted:
                    (self.folder / f"{self.name}.saved").touch()
                    raise SystemExit("stopped")
                time.sleep(0.1)
        return self.name
