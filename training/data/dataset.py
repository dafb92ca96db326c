"""Training pictures with their words: what a sample is, and folders of them.

Every source gives the same sample for the same index, which is what exact resumption stands on.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image, ImageOps

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
Opener = Callable[[], Image.Image]
Size = tuple[int, int]


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
        """Decode all of it, upright as its EXIF says.

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


def upright(image: Image.Image) -> Image.Image:
    """As its EXIF says, with 8 bits a channel.

    Raises:
        ValueError: its values have no known white.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):  # Pillow would cut them off at 255
        return Image.fromarray((np.asarray(image, np.uint32) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"its mode is {image.mode}; save it with 8 or 16 bits a channel")
    return image


def to_rgb(image: Image.Image) -> np.ndarray:
    """Upright RGB uint8 [H,W,3]; transparency is laid on white."""
    image = upright(image)
    if image.mode in ("RGBA", "LA", "P", "PA"):
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return np.array(image.convert("RGB"))


def stack_masks(pictures: Iterable[Image.Image], size: Size) -> np.ndarray:
    """Mask pictures -> [K,H,W] in 0..1; ValueError if one is of another size than the picture."""
    masks = []
    for picture in pictures:
        mask = _to_mask(picture)
        if mask.shape != size:
            raise ValueError(
                f"the mask is {mask.shape[1]} x {mask.shape[0]}, the picture {size[1]} x {size[0]}"
            )
        masks.append(mask)
    return np.stack(masks) if masks else np.zeros((0, *size), np.float32)


def _to_mask(picture: Image.Image) -> np.ndarray:
    """Upright [H,W] in 0..1; transparency is laid on black, and of 0 and 1 alone 1 is white.

    Raises:
        ValueError: it is dark everywhere, but not black, so white is not what it marks with.
    """
    mask = upright(picture)
    if mask.mode in ("RGBA", "LA", "P", "PA"):
        rgba = mask.convert("RGBA")
        mask = Image.alpha_composite(Image.new("RGBA", rgba.size, "black"), rgba)
    values = np.asarray(mask.convert("L"), np.float32)
    top = values.max()
    if top == 1:
        return values
    if 0 < top < 128:
        raise ValueError(
            f"its mask is nowhere brighter than {top:g} of 255; white (255) is what may be "
            f"controlled"
        )
    return values / 255


@dataclass(frozen=True)
class PictureFile:
    """A file as an opener."""

    path: Path

    def __call__(self) -> Image.Image:
        """Open it."""
        return Image.open(self.path)


@dataclass(frozen=True)
class MaskPictures:
    """Mask pictures (white = controlled) as a reader of masks [K,H,W]."""

    openers: tuple[Opener, ...]

    def __call__(self, size: Size) -> np.ndarray:
        """Decode them; ValueError if one is of another size than the picture."""
        return stack_masks((opener() for opener in self.openers), size)


def as_caption(value: Any) -> str:
    """What a cell of a caption column says; of several captions the first."""
    if isinstance(value, list):
        value = next(iter(value), None)
    return "" if value is None else str(value)


def decode_text(data: bytes, name: str) -> str:
    """UTF-8 text, with or without a byte order mark; ValueError names the file that is none."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{name} is no UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from None


def file_stamp(*paths: Path | None) -> str:
    """What changes when one of the files does: their sizes and times of change.

    Raises:
        OSError: one of them is missing.
    """
    stats = [path.stat() for path in paths if path is not None]
    return " ".join(f"{stat.st_size}-{stat.st_mtime_ns}" for stat in stats)


@dataclass(frozen=True)
class Columns:
    """Which columns of a table hold what; an empty `image` is the usual one of each source."""

    image: str = ""
    caption: str = "text"
    condition: str | None = None
    mask: str | None = None

    def by_flag(self) -> dict[str, str]:
        """Those that there are, by the flags that name them."""
        flags = {
            "--image_column": self.image,
            "--caption_column": self.caption,
            "--conditioning_image_column": self.condition,
            "--mask_column": self.mask,
        }
        return {flag: column for flag, column in flags.items() if column}


class ImageFolder:
    """A folder of pictures, captioned by metadata.jsonl or by a .txt beside each picture.

    metadata.jsonl has one object a line; `columns` names its fields, paths in it are relative to
    it, and its mask column may hold one path or a list. Without it every picture below the folder
    counts, and there are no conditions and masks.
    """

    def __init__(self, folder: Path, columns: Columns) -> None:
        if not folder.is_dir():
            raise DatasetError(f"There is no folder {folder}; name one with --train_data_dir.")
        self._folder = folder
        self._columns = columns = replace(columns, image=columns.image or "file_name")
        table = folder / "metadata.jsonl"
        self._listed = table.is_file()
        if self._listed:
            self._rows = read_jsonl(table)
            for flag, column in columns.by_flag().items():
                if any(column in row for row in self._rows):
                    continue
                if column == columns.caption and self._has_text_files():
                    continue
                raise DatasetError(
                    f"No line of {table} has {column!r}, the first only {sorted(self._rows[0])}; "
                    f"name the right one with {flag}."
                )
            return
        if columns.condition or columns.mask:
            raise DatasetError(
                f"Conditions and masks from columns need {table}; write one, or drop "
                f"--conditioning_image_column and --mask_column."
            )
        paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        self._rows = [{columns.image: str(path.relative_to(folder))} for path in paths]

    def check_apart(self, output_dir: Path) -> None:
        """DatasetError if pictures that are written to `output_dir` would be taken for samples."""
        if not self._listed and output_dir.resolve().is_relative_to(self._folder.resolve()):
            raise DatasetError(
                f"--output_dir {output_dir} is inside of {self._folder}, where its sheets would be "
                f"taken for pictures; name a folder outside."
            )

    def __len__(self) -> int:
        return len(self._rows)

    def _has_text_files(self) -> bool:
        named = (row.get(self._columns.image) for row in self._rows)
        paths = (self._folder / name for name in named if isinstance(name, str))
        return any(path.with_suffix(".txt").is_file() for path in paths)

    def __getitem__(self, index: int) -> Record:
        row, columns = self._rows[index], self._columns
        (path,) = self._files(row, columns.image)
        written = row.get(columns.caption)
        caption, text = as_caption(written), path.with_suffix(".txt")
        if written is None and text.is_file():
            caption = decode_text(text.read_bytes(), text.name).strip()
        (condition,) = self._files(row, columns.condition) if columns.condition else (None,)
        masks = self._files(row, columns.mask) if columns.mask and row.get(columns.mask) else []
        return Record(
            str(row[columns.image]),
            file_stamp(path, condition, *masks),
            caption,
            PictureFile(path),
            None if condition is None else PictureFile(condition),
            MaskPictures(tuple(map(PictureFile, masks))) if masks else None,
        )

    def _files(self, row: Mapping[str, Any], column: str) -> list[Path]:
        """What a cell names; ValueError if that is no file."""
        value = row.get(column)
        cells = value if isinstance(value, list) else [value]
        names = [name for name in cells if isinstance(name, str) and name]
        if len(names) < len(cells):
            about = row.get(self._columns.image)
            raise ValueError(f"the line of {about!r} has {value!r} for {column!r}, no file")
        return [self._folder / name for name in names]


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file; DatasetError names the line that is none."""
    rows = []
    try:
        text = decode_text(path.read_bytes(), str(path))
    except ValueError as error:
        raise DatasetError(f"{error}.") from None
    # Not splitlines: JSON strings may hold what Unicode counts as an end of a line.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DatasetError(f"{path}, line {number} is no JSON ({error}).") from None
        if not isinstance(row, dict):
            raise DatasetError(f"{path}, line {number} is no JSON object.")
        rows.append(row)
    if not rows:
        raise DatasetError(f"{path} is empty; write one JSON object a line.")
    return rows
