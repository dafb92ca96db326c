"""Hugging Face data sets: saved ones, and those that `datasets` loads by name."""

import importlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from huggingface_hub.constants import HF_HUB_CACHE

from .captions import as_caption
from .contents import MAX_BYTES, FileContent
from .digests import Folded, digest
from .mask_pictures import MaskPictures
from .records import Columns, DatasetError, Record, Row
from .trusted_paths import TrustedPaths
from .words import shown

_BATCH = 64  # rows of whose cells the paths are looked at together


@dataclass(frozen=True)
class _Cell:
    """A picture in a row of a table of one column: its bytes, or a path; never an address.

    place: which one of several. table: what changes with the whole data set.
    """

    rows: Any
    column: str
    index: int
    place: int
    paths: TrustedPaths
    table: str

    def open(self) -> BinaryIO:
        """Return it as a file; ValueError if it is no picture, or outside."""
        found = self._found()
        return io.BytesIO(found) if isinstance(found, bytes) else found.open()

    def length(self) -> int:
        """Return how many bytes it has; ValueError as `open` says."""
        found = self._found()
        return len(found) if isinstance(found, bytes) else found.length()

    def stamp(self) -> str:
        """Return where it is, and what changes with its table or with the file that it names.

        Raises:
            OSError, ValueError: it names none that may be read.
        """
        found = self._found()
        named = "" if isinstance(found, bytes) else f" {found.stamp()}"
        return f"{self.table} {self.column} {self.index} {self.place}{named}"

    def _found(self) -> bytes | FileContent:
        """What the cell holds, or the file that it names."""
        value = _pictures(self.rows, self.column, self.index)[self.place]
        data = value.get("bytes") if isinstance(value, dict) else value
        if isinstance(data, bytes) and len(data) <= MAX_BYTES:
            return data
        path = value.get("path") if isinstance(value, dict) and data is None else None
        if not isinstance(path, str):
            raise ValueError(f"its column {self.column!r} holds {type(value).__name__}, no picture")
        return FileContent(self.paths.find(path))


def _value(rows: Any, column: str, index: int) -> Any:
    """What a cell holds, as it is stored: nothing is decoded, and nothing fetched."""
    return rows[index][column].to_pylist()[0]


def _pictures(rows: Any, column: str, index: int) -> list[Any]:
    """What a cell holds, as a list."""
    value = _value(rows, column, index)
    return value if isinstance(value, list) else [] if value is None else [value]


def _named(rows: Any, column: str) -> Iterator[str]:
    """Paths that the cells of a table of one column hold instead of bytes, which are not read."""
    for start in range(0, len(rows), _BATCH):
        for cells in rows[start : start + _BATCH][column].chunks:
            yield from _paths(cells)


def _paths(cells: Any) -> list[str]:
    """Those of an Arrow array of cells, or of lists of them."""
    from pyarrow import types

    if types.is_list(cells.type) or types.is_large_list(cells.type):
        cells = cells.flatten()
    parts = [part.name for part in cells.type] if types.is_struct(cells.type) else []
    if "path" not in parts:
        return []
    paths = cells.field("path")
    if "bytes" in parts:
        paths = paths.filter(cells.field("bytes").is_null())
    return [path for path in paths.to_pylist() if isinstance(path, str)]


def is_saved(folder: Path) -> bool:
    """Return whether `datasets` has saved a data set there, of one split or of several."""
    names = ("dataset_info.json", "dataset_dict.json", "state.json")
    return any((folder / name).is_file() for name in names)


class HubDataset:
    """A Hugging Face data set: a local one, or one that `datasets` can load by name.

    revision: of a hub name. outside: paths in its cells may lead out of its folder.
    """

    def __init__(
        self,
        name: str,
        columns: Columns,
        split: str = "train",
        config: str | None = None,
        revision: str | None = None,
        outside: bool = False,
    ) -> None:
        rows, roots = _open(name, split, config, revision)
        columns = replace(columns, image=columns.image or "image")
        used = (columns.image, columns.caption, columns.condition, columns.mask)
        missing = [column for column in used if column and column not in rows.column_names]
        if missing:
            raise DatasetError(
                f"The data set {name} has no column {missing[0]!r}, only {rows.column_names}."
            )
        self._columns = columns
        self._paths = TrustedPaths(Path(name).absolute(), outside, roots)
        files = [FileContent(Path(found["filename"])).stamp() for found in rows.cache_files]
        self._table = digest(rows._fingerprint, columns.by_flag(), outside, *files)
        # A row is read with all columns that its table has, so each column is one of its own.
        self._tables = {
            column: rows.select_columns([column]).with_format("arrow") for column in used if column
        }

    def stamp(self) -> str:
        """Return what changes when the table does, or a file that a picture's cell names."""
        files, columns = Folded(), self._columns
        for column in filter(None, (columns.image, columns.condition, columns.mask)):
            for path in _named(self._tables[column], column):
                files.add(self._stamp_of(path))
        return digest(self._table, files.name())

    def _stamp_of(self, path: str) -> str:
        try:
            return FileContent(self._paths.find(path)).stamp()
        except (OSError, ValueError) as error:
            return str(error)

    def rows(self) -> Iterator[Row]:
        """Yield the numbers of the rows."""
        for index in range(len(self._tables[self._columns.image])):
            yield {"index": index}

    def record(self, row: Row) -> Record:
        """Return how a row is read; ValueError: it does not have one picture, or one condition."""
        columns, index = self._columns, row["index"]
        condition = self._one(columns.condition, index) if columns.condition else None
        masks = tuple(self._cells(columns.mask, index)) if columns.mask else ()
        return Record(
            f"row {index}",
            self._one(columns.image, index),
            as_caption(_value(self._tables[columns.caption], columns.caption, index)),
            condition=condition,
            masks=MaskPictures(masks) if masks else None,
        )

    def passed_over(self) -> Mapping[str, int]:
        """Return nothing: a table has rows alone."""
        return {}

    def _cells(self, column: str, index: int) -> list[_Cell]:
        table = self._tables[column]
        count = len(_pictures(table, column, index))
        about = (self._paths, self._table)
        return [_Cell(table, column, index, place, *about) for place in range(count)]

    def _one(self, column: str, index: int) -> _Cell:
        found = self._cells(column, index)
        if len(found) != 1:
            raise ValueError(f"there are {len(found)} pictures in its column {column!r}")
        return found[0]


def _open(
    name: str, split: str, config: str | None, revision: str | None
) -> tuple[Any, tuple[Path, ...]]:
    """The rows of a data set, and where the library keeps the files of those that it loads."""
    import datasets

    saved = is_saved(Path(name))
    try:
        if not saved:
            rows: Any = datasets.load_dataset(name, config, split=split, revision=revision)
            kept: Any = importlib.import_module("datasets.config")
            return rows, (Path(kept.HF_DATASETS_CACHE), Path(HF_HUB_CACHE))
        rows = datasets.load_from_disk(name)
    except Exception as error:  # the library lets through whatever a damaged file makes it raise
        flags = "see --dataset_name, --dataset_config_name and --dataset_split"
        reason = shown(str(error).partition("\n")[0], 300)
        raise DatasetError(
            f"The data set {name} cannot be loaded ({reason}); "
            f"{'save it again' if saved else flags}."
        ) from error
    if isinstance(rows, datasets.DatasetDict):
        if split not in rows:
            raise DatasetError(
                f"The data set {name} has no split {split!r}, only {list(rows)}; name one with "
                f"--dataset_split."
            )
        rows = rows[split]
    return rows, ()
