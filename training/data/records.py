"""What a data set is made of: records by index, each of which loads one sample.

Every source gives the same sample for the same index, which is what exact resumption stands on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from .pictures import Opener, Size, to_rgb


class DatasetError(ValueError):
    """A data set that cannot be trained on; the message says why and what to do."""


@dataclass(frozen=True)
class Sample:
    """One picture: image uint8 [H,W,3], caption, condition uint8 [H,W,3] or None, masks [K,H,W].

    masks are float32 in 0..1 with white (1) = what may be controlled; K may be 0.
    """

    key: str
    image: np.ndarray
    caption: str
    condition: np.ndarray | None
    masks: np.ndarray


@dataclass(frozen=True)
class Record:
    """How one sample is read. `key` names it in messages; `stamp` changes with its files.

    Readers are objects that pickle, since workers that are not forked are sent their records.
    """

    key: str
    stamp: str
    caption: str
    image: Opener
    condition: Opener | None = None
    masks: Callable[[Size], np.ndarray] | None = None

    def load(self) -> Sample:
        """Return the sample, all of it decoded, upright as its EXIF says.

        Raises:
            OSError, ValueError: what PIL says of a picture that it cannot read, or of a condition
                whose size is not the picture's.
        """
        image = to_rgb(self.image())
        condition = None if self.condition is None else to_rgb(self.condition())
        if condition is not None and condition.shape != image.shape:
            raise ValueError(
                f"the condition is {condition.shape[1]} x {condition.shape[0]}, the picture "
                f"{image.shape[1]} x {image.shape[0]}"
            )
        size = (image.shape[0], image.shape[1])
        masks = np.zeros((0, *size), np.float32) if self.masks is None else self.masks(size)
        return Sample(self.key, image, self.caption, condition, masks)


class Source(Protocol):
    """A data set as records by index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Record: ...


@dataclass(frozen=True)
class Columns:
    """Which columns of a table hold what; an empty `image` is the usual one of each source."""

    image: str = ""
    caption: str = "text"
    condition: str | None = None
    mask: str | None = None

    def by_flag(self) -> dict[str, str]:
        """Return those that there are, by the flags that name them."""
        flags = {
            "--image_column": self.image,
            "--caption_column": self.caption,
            "--conditioning_image_column": self.condition,
            "--mask_column": self.mask,
        }
        return {flag: column for flag, column in flags.items() if column}


def file_stamp(*paths: Path | None) -> str:
    """Return what changes when one of the files does: their sizes and times of change.

    Raises:
        OSError: one of them is missing.
    """
    stats = [path.stat() for path in paths if path is not None]
    return " ".join(f"{stat.st_size}-{stat.st_mtime_ns}" for stat in stats)
