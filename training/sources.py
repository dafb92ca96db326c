"""Data sets that are no plain folders: Hugging Face, WebDataset shards, COCO."""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .dataset import (
    IMAGE_SUFFIXES,
    Columns,
    DatasetError,
    Opener,
    Record,
    file_stamp,
    masks_from_images,
    open_path,
)


class HubDataset:
    """A Hugging Face data set: a local one, or one that `datasets` can load by name."""

    def __init__(self, name: str, columns: Columns, split: str = "train") -> None:
        import datasets

        if Path(name).is_dir() and (Path(name) / "dataset_info.json").is_file():
            rows: Any = datasets.load_from_disk(name)
        else:
            rows = datasets.load_dataset(name, split=split)
        self._rows = rows
        missing = [
            column
            for column in (columns.image, columns.caption, columns.condition, columns.mask)
            if column and column not in rows.column_names
        ]
        if missing:
            raise DatasetError(
                f"The data set {name} has no column {missing[0]!r}, only {self._rows.column_names}."
            )
        self._columns = columns

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Record:
        columns = self._columns

        def column(name: str) -> Opener:
            return lambda: self._rows[index][name]

        return Record(
            f"row {index}",
            f"{self._rows._fingerprint} {index}",
            str(self._rows[index][columns.caption] or ""),
            column(columns.image),
            column(columns.condition) if columns.condition else None,
            masks_from_images(column(columns.mask)) if columns.mask else None,
        )


@dataclass
class _Entry:
    """Where the files of one WebDataset sample stand: suffix -> (shard, offset, size)."""

    key: str
    files: dict[str, tuple[Path, int, int]] = field(default_factory=dict)


class TarShards:
    """WebDataset shards, indexed once and then read at random.

    A sample is all files of one name: NAME.jpg, NAME.txt, and with columns also NAME.COLUMN.
    """

    def __init__(self, shards: Sequence[Path], columns: Columns) -> None:
        if not shards:
            raise DatasetError("There are no .tar shards in the folder.")
        self._columns = columns
        entries: dict[str, _Entry] = {}
        for shard in shards:
            with tarfile.open(shard) as tar:
                for member in tar:
                    if member.isfile():
                        stem, _, suffix = member.name.partition(".")
                        key = f"{shard.name}/{stem}"
                        place = (shard, member.offset_data, member.size)
                        entries.setdefault(key, _Entry(key)).files[suffix.lower()] = place
        suffixes = {suffix.removeprefix(".") for suffix in IMAGE_SUFFIXES}
        self._entries = [e for e in entries.values() if suffixes & e.files.keys()]
        self._suffixes = suffixes

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Record:
        entry, columns = self._entries[index], self._columns

        def read(suffix: str) -> bytes:
            shard, offset, size = entry.files[suffix]
            with shard.open("rb") as file:
                file.seek(offset)
                return file.read(size)

        def opener(suffix: str) -> Opener:
            return lambda: Image.open(io.BytesIO(read(suffix)))

        caption = read("txt").decode("utf-8").strip() if "txt" in entry.files else ""
        image = next(suffix for suffix in entry.files if suffix in self._suffixes)
        condition = mask = None
        if columns.condition:
            condition = opener(columns.condition)
        if columns.mask and columns.mask in entry.files:
            mask = masks_from_images(opener(columns.mask))
        shard, offset, _ = entry.files[image]
        stamp = f"{file_stamp(shard)} {offset}"
        return Record(entry.key, stamp, caption, opener(image), condition, mask)


class Coco:
    """COCO: pictures, captions and instance masks from its annotation files."""

    def __init__(self, images: Path, instances: Path, captions: Path | None = None) -> None:
        table = json.loads(instances.read_text())
        self._folder = images
        self._stamp = file_stamp(instances)
        self._images = sorted(table["images"], key=lambda entry: entry["id"])
        self._instances = _group(table["annotations"])
        self._categories = {c["id"]: c["name"] for c in table.get("categories", [])}
        self._captions: Mapping[int, list[dict[str, Any]]] = {}
        if captions is not None:
            self._captions = _group(json.loads(captions.read_text())["annotations"])

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Record:
        image = self._images[index]
        instances = self._instances.get(image["id"], [])
        written = self._captions.get(image["id"], [])
        names = dict.fromkeys(self._categories.get(i["category_id"], "") for i in instances)
        caption = written[0]["caption"] if written else ", ".join(filter(None, names))

        def masks(size: tuple[int, int]) -> np.ndarray:
            drawn = [rasterise(i["segmentation"], size) for i in instances]
            return np.stack(drawn) if drawn else np.zeros((0, *size), np.float32)

        path = self._folder / image["file_name"]
        stamp = f"{file_stamp(path)} {self._stamp}"
        return Record(image["file_name"], stamp, caption, open_path(path), None, masks)


def _group(annotations: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    grouped: dict[int, list[dict[str, Any]]] = {}
    for annotation in annotations:
        grouped.setdefault(annotation["image_id"], []).append(annotation)
    return grouped


def rasterise(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """COCO polygons or run lengths -> mask float32 [H,W]."""
    from pycocotools import mask as coco

    height, width = size
    if isinstance(segmentation, list):
        runs = coco.merge(coco.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        runs = coco.frPyObjects(segmentation, height, width)
    else:
        runs = segmentation
    return coco.decode(runs).astype(np.float32)
