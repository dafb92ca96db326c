"""What trackers are shown beside numbers."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def log_sheet(trackers: Iterable[Any], name: str, path: Path, step: int) -> None:
    """Give a picture to the trackers of accelerate that show some, which want it in two ways."""
    picture = np.asarray(Image.open(path))
    for tracker in trackers:
        if tracker.name == "tensorboard":
            tracker.log_images({name: picture[None]}, step, dataformats="NHWC")
        elif tracker.name == "wandb":
            tracker.log_images({name: [picture]}, step)
