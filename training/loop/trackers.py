"""What trackers are shown beside numbers."""

from collections.abc import Iterable
from typing import Any

import numpy as np


def log_sheet(trackers: Iterable[Any], name: str, picture: np.ndarray, step: int) -> None:
    """Give a picture uint8 [H,W,3] to the trackers of accelerate that show some, in two ways."""
    for tracker in trackers:
        if tracker.name == "tensorboard":
            tracker.log_images({name: picture[None]}, step, dataformats="NHWC")
        elif tracker.name == "wandb":
            tracker.log_images({name: [picture]}, step)
