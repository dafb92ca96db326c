"""What a data set is made of: rows that say where its samples are, and records that read them.

Every source gives the same rows in the same order, which is what exact resumption stands on.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np

from .captions import as_caption, decode_text
from .contents import Content, read
from .digests import Folded, digest
from .mask_pictures import Masks, check_masks
from .pictures import DECODING, Size, check_same, decode, open_beside, open_picture, to_colours

Row = dict[str, Any]  # JSON values

# A caption is some lines, and not a file that was mistaken for one.
_MOST_WORDS = 2**20
# What to do about a sample that is another one now.
_AGAIN = "start again, and it is checked anew."


class DatasetError(ValueError):
    """A data set that cannot be trained on; the message says why and what to do."""


class ChangedError(DatasetError):
    """A sample that is not what it was when it was checked."""


class Digests(NamedTuple):
    """Names for the contents that a sample was read from; empty for what it does not have."""

    image: str
    condition: str = ""
    masks: str = ""


@dataclass(frozen=True)
class Sample:
    """One picture: image uint8 [H,W,3], caption, condition uint8 [H,W,3] or None, masks [K,H,W].

    masks are uint8 with white (255) = what may be controlled; K may be 0.
    """

    key: str
    image: np.ndarray
    caption: str
    condition: np.ndarray | None
    masks: np.ndarray
    digests: Digests

    @property
    def size(self) -> Size:
        """Return its height and width in px."""
        return self.image.shape[0], self.image.shape[1]


@dataclass(frozen=True)
class Record:
    """How one sample is read. `key` names it in messages.

    text: the file of its caption, if that is not known yet. digests: what its contents must be,
    where that is known.
    """

    key: str
    image: Content
    caption: str = ""
    text: Content | None = None
    condition: Content | None = None
    masks: Masks | None = None
    digests: Digests | None = None

    def words(self) -> str:
        """Return its caption.

        Raises:
            OSError, ValueError: the file of it cannot be read, or is no text.
        """
        text = self.caption
        if self.text is not None:
            text = decode_text(read(self.text, _MOST_WORDS), "its caption").strip()
        return as_caption(text)

    def stamp(self) -> str:
        """Return what changes when a content may have changed; OSError: one is missing."""
        parts = (self.image, self.text, self.condition, self.masks)
        return "\n".join("" if part is None else part.stamp() for part in parts)

    def footprint(self) -> int:
        """Return about how many bytes it takes to load, known before that is done.

        Raises:
            OSError, ValueError: a part of it cannot be read, or is too large.
        """
        with self.image.open() as file:
            width, height = open_picture(file).size
        pictures = [part for part in (self.image, self.condition) if part is not None]
        found = sum(part.length() + DECODING * height * width for part in pictures)
        if self.masks is None:
            return found
        check_masks(len(self.masks), (height, width))
        return found + self.masks.footprint((height, width))

    def load(self) -> Sample:
        """Return the sample, all of it decoded, upright as its EXIF says.

        Raises:
            OSError, ValueError: what is wrong with a picture, or that a condition or mask does not
                fit it.
            ChangedError: it is another one than `digests` tell, or cannot be read any more.
        """
        if self.digests is None:
            return self._load()
        try:
            sample = self._load()
        except (OSError, ValueError) as error:
            raise ChangedError(
                f"{self.key} has changed since it was checked ({error}); {_AGAIN}"
            ) from error
        if sample.digests != self.digests:
            raise ChangedError(f"{self.key} has changed since it was checked; {_AGAIN}")
        return sample

    def _load(self) -> Sample:
        data = read(self.image)
        image = decode(data)
        size = (image.shape[0], image.shape[1])
        digests, condition = Digests(digest(data)), None
        if self.condition is not None:
            data = read(self.condition)
            drawn = open_beside(data, size, "condition")
            condition = to_colours(drawn)
            check_same((condition.shape[0], condition.shape[1]), size, "condition")
            # In older caches transparency lies on white, under the name of the bytes alone.
            how = ["without alpha"] if drawn.has_transparency_data else []
            digests = digests._replace(condition=digest(data, *how))
        masks = np.zeros((0, *size), np.uint8)
        if self.masks is not None:
            check_masks(len(self.masks), size)
            parts = self.masks.read()
            masks = self.masks.draw(parts, size)
            digests = digests._replace(masks=digest(*parts))
        return Sample(self.key, image, self.words(), condition, masks, digests)

    def checked(self, caption: str, digests: Digests) -> "Record":
        """Return the record with what a check has found."""
        return replace(self, caption=caption, text=None, digests=digests)


class Source(Protocol):
    """A data set as rows, and how each is read; what holds it pickles."""

    def stamp(self) -> str:
        """Return what changes when a row may have changed, without opening pictures."""
        ...

    def rows(self) -> Iterator[Row]:
        """Yield what says where each sample is.

        Raises:
            DatasetError: the data set is damaged, or lacks a column.
        """
        ...

    def record(self, row: Row) -> Record:
        """Return how the sample of a row is read.

        Raises:
            OSError, ValueError: the row names none.
        """
        ...

    def passed_over(self) -> Mapping[str, int]:
        """Return what was found beside the samples and is not read, and how often."""
        ...


def rows_stamp(source: Source) -> str:
    """Return what changes when a row of a source does, or a content that one of them names."""
    folded = Folded()
    for row in source.rows():
        try:
            stamp = source.record(row).stamp()
        except (OSError, ValueError) as error:
            stamp = str(error)
        folded.add(row, stamp)
    return folded.name()


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
