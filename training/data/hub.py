"""Hugging Face data sets: saved ones, and those that `datasets` loads by name."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from .captions import as_caption
from .pictures import Size, stack_masks
from .records import Columns, DatasetError, Record


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
