"""Data sets that are no plain folders: Hugging Face, WebDataset shards, COCO."""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import cv2
import numpy as np
from PIL import Image

from .dataset import (
    IMAGE_SUFFIXES,
    Columns,
    DatasetError,
    MaskPictures,
    PictureFile,
    Record,
    Size,
    as_caption,
    decode_text,
    file_stamp,
    stack_masks,
)

# By how much the shapes of a picture and of its annotation may differ, by rounding when scaled.
_SAME_SHAPE = 0.02


@dataclass(frozen=True)
class _Cell:
    """What a table of one column holds in a row: a picture, several or none."""

    rows: Any
    column: str
    index: int

    def pictures(self) -> list[Image.Image]:
        """Decode them; ValueError if they are no pictures."""
        value = self.rows[self.index][self.column]
        values = value if isinstance(value, list) else [] if value is None else [value]
        for found in values:
            if not isinstance(found, Image.Image):
                raise ValueError(
                    f"its column {self.column!r} holds {type(found).__name__}, no picture"
                )
        return values


class _Picture(_Cell):
    """A cell as an opener."""

    def __call__(self) -> Image.Image:
        """Decode it; ValueError unless there is one."""
        found = self.pictures()
        if len(found) != 1:
            raise ValueError(f"there are {len(found)} pictures in its column {self.column!r}")
        return found[0]


class _Masks(_Cell):
    """A cell as a reader of masks [K,H,W]."""

    def __call__(self, size: Size) -> np.ndarray:
        """Decode them; ValueError if one is of another size than the picture."""
        return stack_masks(self.pictures(), size)


def is_saved(folder: Path) -> bool:
    """Whether `datasets` has saved a data set there, of one split or of several."""
    names = ("dataset_info.json", "dataset_dict.json")
    return any((folder / name).is_file() for name in names)


CellT = TypeVar("CellT", bound=_Cell)


class HubDataset:
    """A Hugging Face data set: a local one, or one that `datasets` can load by name."""

    def __init__(
        self, name: str, columns: Columns, split: str = "train", config: str | None = None
    ) -> None:
        import datasets

        rows: Any
        if is_saved(Path(name)):
            rows = datasets.load_from_disk(name)
            if isinstance(rows, datasets.DatasetDict):
                if split not in rows:
                    raise DatasetError(
                        f"The data set {name} has no split {split!r}, only {list(rows)}; name one "
                        f"with --dataset_split."
                    )
                rows = rows[split]
        else:
            try:
                rows = datasets.load_dataset(name, config, split=split)
            except (OSError, ValueError) as error:
                raise DatasetError(
                    f"The data set {name} cannot be loaded ({str(error).splitlines()[0]}); see "
                    f"--dataset_name, --dataset_config_name and --dataset_split."
                ) from error
        columns = replace(columns, image=columns.image or "image")
        used = (columns.image, columns.caption, columns.condition, columns.mask)
        missing = [column for column in used if column and column not in rows.column_names]
        if missing:
            raise DatasetError(
                f"The data set {name} has no column {missing[0]!r}, only {rows.column_names}."
            )
        self._columns = columns
        self._fingerprint = rows._fingerprint
        # A row is decoded with all columns that its table has, so each column is one of its own.
        self._tables = {column: rows.select_columns([column]) for column in used if column}

    def __len__(self) -> int:
        return len(self._tables[self._columns.image])

    def __getitem__(self, index: int) -> Record:
        columns = self._columns
        caption = self._tables[columns.caption][index][columns.caption]
        return Record(
            f"row {index}",
            f"{self._fingerprint} {index} {columns.image} {columns.condition} {columns.mask}",
            as_caption(caption),
            self._cell(_Picture, columns.image, index),
            self._cell(_Picture, columns.condition, index) if columns.condition else None,
            self._cell(_Masks, columns.mask, index) if columns.mask else None,
        )

    def _cell(self, kind: type[CellT], column: str, index: int) -> CellT:
        return kind(self._tables[column], column, index)


@dataclass(frozen=True)
class _Member:
    """A file in a shard; called, it is opened as a picture."""

    shard: Path
    offset: int
    size: int

    def read(self) -> bytes:
        """Its bytes."""
        with self.shard.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)

    def __call__(self) -> Image.Image:
        """Open it."""
        return Image.open(io.BytesIO(self.read()))


@dataclass
class _Entry:
    """The files of one WebDataset sample by suffix."""

    key: str
    files: dict[str, _Member] = field(default_factory=dict)


class TarShards:
    """WebDataset shards, indexed once and then read at random.

    A sample is all files of one name. columns: their suffixes. The picture is, unless one is named,
    the first file that looks like one and is no condition or mask; the caption may be NAME.txt.
    """

    def __init__(self, shards: Sequence[Path], columns: Columns) -> None:
        if not shards:
            raise DatasetError("There are no .tar shards in the folder.")
        self._columns = columns
        entries: dict[str, _Entry] = {}
        for shard in shards:
            for name, member in _members(shard):
                stem, _, suffix = name.name.partition(".")
                if stem and suffix:
                    key = f"{shard.name}/{name.with_name(stem)}"
                    entries.setdefault(key, _Entry(key)).files[suffix.lower()] = member
        pictures = {suffix.removeprefix(".") for suffix in IMAGE_SUFFIXES}
        pictures -= {columns.condition, columns.mask}
        self._suffixes = {columns.image} if columns.image else pictures
        flags = {
            "--image_column": columns.image,
            "--conditioning_image_column": columns.condition,
            "--mask_column": columns.mask,
        }
        for flag, column in flags.items():
            if column and not any(column in entry.files for entry in entries.values()):
                known = sorted({suffix for entry in entries.values() for suffix in entry.files})
                raise DatasetError(
                    f"No sample of the shards in {shards[0].parent} has a file NAME.{column}, only "
                    f"{known}; name the right one with {flag}."
                )
        self._entries = [e for e in entries.values() if self._suffixes & e.files.keys()]

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Record:
        files, columns = self._entries[index].files, self._columns
        written = files.get(columns.caption, files.get("txt"))
        text = f"the caption of {self._entries[index].key}"
        caption = "" if written is None else decode_text(written.read(), text).strip()
        image = files[next(suffix for suffix in files if suffix in self._suffixes)]
        condition = files[columns.condition] if columns.condition else None
        mask = files.get(columns.mask) if columns.mask else None
        masks = None if mask is None else MaskPictures((mask,))
        stamp = f"{file_stamp(image.shard)} {image.offset} {columns.condition} {columns.mask}"
        return Record(self._entries[index].key, stamp, caption, image, condition, masks)


def _members(shard: Path) -> list[tuple[PurePosixPath, _Member]]:
    """The files of a shard, named without a leading `./`; DatasetError if it is damaged."""
    try:
        with tarfile.open(shard, "r:") as tar:
            return [
                (PurePosixPath(found.name), _Member(shard, found.offset_data, found.size))
                for found in tar
                if found.isfile()
            ]
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DatasetError(
            f"The shard {shard} cannot be read ({error}); it must be a whole tar file without "
            f"compression: download or write it again, or move it away."
        ) from error


@dataclass(frozen=True)
class _Instances:
    """Polygons and run lengths in a frame (height, width) as a reader of masks [K,H,W]."""

    segmentations: tuple[Any, ...]
    frame: Size

    def __call__(self, size: Size) -> np.ndarray:
        """Draw them, and scale them with the picture; ValueError if it has another shape."""
        if not self.segmentations:
            return np.zeros((0, *size), np.float32)
        (height, width), (of_height, of_width) = size, self.frame
        if abs(width / height * of_height / of_width - 1) > _SAME_SHAPE:
            raise ValueError(
                f"the picture is {width} x {height}, its annotation of {of_width} x {of_height}"
            )
        drawn = [rasterise(segmentation, self.frame) for segmentation in self.segmentations]
        if size != self.frame:
            drawn = [
                cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA) for mask in drawn
            ]
        return np.stack(drawn)


class Coco:
    """COCO: pictures, captions and instance masks from its annotation files."""

    def __init__(self, images: Path, instances: Path, captions: Path | None = None) -> None:
        table = _read_coco(instances, "images", "annotations")
        self._folder = images
        self._stamp = file_stamp(instances)
        self._images = sorted(table["images"], key=lambda entry: entry["id"])
        self._instances = _group(table["annotations"])
        self._categories = {c["id"]: c["name"] for c in table.get("categories", [])}
        self._captions: Mapping[int, list[dict[str, Any]]] = {}
        if captions is not None:
            self._captions = _group(_read_coco(captions, "annotations")["annotations"])

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Record:
        image = self._images[index]
        instances = self._instances.get(image["id"], [])
        written = self._captions.get(image["id"], [])
        names = dict.fromkeys(self._categories.get(i["category_id"], "") for i in instances)
        caption = written[0]["caption"] if written else ", ".join(filter(None, names))

        drawn = (instance.get("segmentation") for instance in instances)  # some are boxes alone
        frame = (image["height"], image["width"])
        masks = _Instances(tuple(filter(None, drawn)), frame)
        path = self._folder / image["file_name"]
        stamp = f"{file_stamp(path)} {self._stamp}"
        return Record(image["file_name"], stamp, caption, PictureFile(path), None, masks)


def _read_coco(path: Path, *parts: str) -> dict[str, Any]:
    """An annotation file; DatasetError if it lacks one of the lists that COCO's have."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DatasetError(f"{path} is no JSON ({error}); COCO's annotations are.") from None
    for part in parts:
        if not isinstance(found, dict) or not isinstance(found.get(part), list):
            raise DatasetError(f"{path} has no list {part!r}, as COCO's annotations have.")
    return found


def _group(annotations: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    grouped: dict[int, list[dict[str, Any]]] = {}
    for annotation in annotations:
        grouped.setdefault(annotation["image_id"], []).append(annotation)
    return grouped


def rasterise(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """COCO polygons or run lengths -> mask float32 [H,W]; ValueError if they are neither."""
    from pycocotools import mask as coco

    height, width = size
    if isinstance(segmentation, list):
        polygons = [found for found in segmentation if isinstance(found, list) and len(found) >= 6]
        if not polygons:
            raise ValueError("a polygon in its annotation has less than three corners")
        runs = coco.merge(coco.frPyObjects(polygons, height, width))
    elif isinstance(segmentation["counts"], list):
        runs = coco.frPyObjects(segmentation, height, width)
    else:
        runs = segmentation
    return coco.decode(runs).astype(np.float32)
