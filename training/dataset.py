"""Training pictures with their words: what a sample is, folders of them, and which can be used.

Every source gives the same sample for the same index, which is what exact resumption stands on.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image, ImageOps
from tqdm.contrib.concurrent import thread_map

log = logging.getLogger(__name__)

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
    """How one sample is read. `key` names it in messages; `stamp` changes with its files."""

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


def to_rgb(image: Image.Image) -> np.ndarray:
    """Upright RGB uint8 [H,W,3]; transparency is laid on white."""
    image = ImageOps.exif_transpose(image)
    if image.mode in ("RGBA", "LA", "P", "PA"):
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return np.array(image.convert("RGB"))


def masks_from_images(*openers: Opener) -> Callable[[Size], np.ndarray]:
    """Mask pictures (white = controlled) as a reader of masks [K,H,W]."""

    def read_one(opener: Opener, size: Size) -> np.ndarray:
        mask = ImageOps.exif_transpose(opener()).convert("L")
        if mask.size != (size[1], size[0]):
            raise ValueError(
                f"the mask is {mask.width} x {mask.height}, the picture {size[1]} x {size[0]}"
            )
        return np.asarray(mask, np.float32) / 255

    return lambda size: np.stack([read_one(opener, size) for opener in openers])


def file_stamp(*paths: Path | None) -> str:
    """What changes when one of the files does: their sizes and times of change.

    Raises:
        OSError: one of them is missing.
    """
    stats = [path.stat() for path in paths if path is not None]
    return " ".join(f"{stat.st_size}-{stat.st_mtime_ns}" for stat in stats)


def open_path(path: Path) -> Opener:
    """A file as an opener."""
    return lambda: Image.open(path)


@dataclass(frozen=True)
class Columns:
    """Which columns of a table hold what."""

    image: str = "file_name"
    caption: str = "text"
    condition: str | None = None
    mask: str | None = None


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
        self._columns = columns
        table = folder / "metadata.jsonl"
        if table.is_file():
            self._rows = read_jsonl(table)
            missing = [c for c in (columns.image, columns.caption) if c not in self._rows[0]]
            if missing:
                raise DatasetError(
                    f"{table} has no column {missing[0]!r}, only {sorted(self._rows[0])}; name the "
                    f"right one with --image_column, --caption_column."
                )
            return
        if columns.condition or columns.mask:
            raise DatasetError(
                f"Conditions and masks from columns need {table}; write one, or drop "
                f"--conditioning_image_column and --mask_column."
            )
        paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        self._rows = [{columns.image: str(path.relative_to(folder))} for path in paths]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Record:
        row, columns = self._rows[index], self._columns
        path = self._folder / row[columns.image]
        caption = row.get(columns.caption)
        if caption is None:
            text = path.with_suffix(".txt")
            caption = text.read_text(encoding="utf-8").strip() if text.is_file() else ""
        condition = self._folder / row[columns.condition] if columns.condition else None
        named = (row.get(columns.mask) if columns.mask else None) or []
        masks = [self._folder / name for name in ([named] if isinstance(named, str) else named)]
        return Record(
            str(row[columns.image]),
            file_stamp(path, condition, *masks),
            caption,
            open_path(path),
            None if condition is None else open_path(condition),
            masks_from_images(*map(open_path, masks)) if masks else None,
        )


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file; DatasetError names the line that is none."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise DatasetError(f"{path}, line {number} is no JSON ({error}).") from None
    if not rows:
        raise DatasetError(f"{path} is empty; write one JSON object a line.")
    return rows


@dataclass(frozen=True)
class Checked:
    """The samples of a source that can be read: their records, and sizes (height, width)."""

    source: Source
    indices: tuple[int, ...]
    sizes: tuple[Size, ...]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Record:
        return self.source[self.indices[index]]

    def subset(self, chosen: Sequence[int]) -> "Checked":
        """Some of the samples, in the order given."""
        indices = tuple(self.indices[i] for i in chosen)
        return Checked(self.source, indices, tuple(self.sizes[i] for i in chosen))


def check(source: Source, min_side: int, limit: int | None = None) -> Checked:
    """Read every sample (or the first `limit`) once; name, count and leave out the unusable.

    Raises:
        DatasetError: nothing is left.
    """

    def problem(index: int) -> tuple[str, str | None, Size]:
        try:
            record = source[index]
        except (OSError, ValueError, KeyError) as error:
            return f"sample {index}", str(error), (0, 0)
        try:
            height, width = record.load().image.shape[:2]
        except (OSError, ValueError, KeyError) as error:
            return record.key, str(error), (0, 0)
        if min(height, width) < min_side:
            return record.key, f"is {width} x {height}, smaller than {min_side}", (0, 0)
        return record.key, None, (height, width)

    total = len(source) if limit is None else min(limit, len(source))
    found = thread_map(problem, range(total), desc="checking pictures", leave=False)
    skipped = {key: reason for key, reason, _ in found if reason is not None}
    for key, reason in list(skipped.items())[:10]:
        log.warning("skipped %s: %s", key, reason)
    if skipped:
        log.warning("%d of %d samples are skipped.", len(skipped), total)
    good = [(index, size) for index, (_, reason, size) in enumerate(found) if reason is None]
    if not good:
        raise DatasetError(
            f"None of the {total} samples can be used; the first reason: "
            f"{next(iter(skipped.values()), 'there are none')}."
        )
    indices, sizes = zip(*good, strict=True)
    return Checked(source, indices, sizes)


def check_once(source: Source, min_side: int, limit: int | None, folder: Path) -> Checked:
    """`check`, whose outcome is kept in `folder` until a sample is added, removed or changed."""
    total = len(source) if limit is None else min(limit, len(source))
    hasher = hashlib.sha256(f"{min_side} {total}".encode())
    for index in range(total):
        try:
            record = source[index]
        except (OSError, ValueError, KeyError) as error:
            hasher.update(str(error).encode())
        else:
            hasher.update(f"{record.key} {record.stamp}\n".encode())
    path = folder / f"checked-{hasher.hexdigest()[:32]}.json"
    if path.is_file():
        kept = json.loads(path.read_text())
        if len(kept["indices"]) < total:
            log.warning("%d of %d samples are skipped.", total - len(kept["indices"]), total)
        return Checked(source, tuple(kept["indices"]), tuple(map(tuple, kept["sizes"])))
    checked = check(source, min_side, limit)
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"indices": checked.indices, "sizes": checked.sizes}))
    partial.replace(path)
    return checked


def hold_out(checked: Checked, share: float) -> tuple[Checked, Checked]:
    """Split into training and validation samples, by a digest of each key: stable as sets grow.

    Raises:
        DatasetError: there is but one sample.
    """
    count = len(checked)
    if count < 2:
        raise DatasetError("There is one picture only, and one must be held out; add some more.")
    order = sorted(range(count), key=lambda i: hashlib.sha256(checked[i].key.encode()).digest())
    held = set(order[: max(1, min(count - 1, round(share * count)))])
    train = [i for i in range(count) if i not in held]
    return checked.subset(train), checked.subset(sorted(held))
