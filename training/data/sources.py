"""Data sets that are no plain folders: Hugging Face and WebDataset shards."""

import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from .dataset import (
    IMAGE_SUFFIXES,
    Columns,
    DatasetError,
    MaskPictures,
    Record,
    Size,
    as_caption,
    decode_text,
    file_stamp,
    stack_masks,
)


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
        for flag, column in columns.by_flag().items():
            if column == columns.caption:  # NAME.txt will do
                continue
            if not any(column in entry.files for entry in entries.values()):
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
