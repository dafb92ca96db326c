"""A folder of pictures with their words: beside each of them, or in metadata.jsonl."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .captions import as_caption
from .contents import FileContent
from .digests import digest
from .mask_pictures import MaskPictures
from .pictures import suffixes
from .records import Columns, DatasetError, Record, Row, rows_stamp
from .tables import read_jsonl
from .tree import files_below, tree_stamp
from .trusted_paths import TrustedPaths
from .words import shown

TABLE = "metadata.jsonl"
# Of several files of a picture's name the first one in this order is its caption.
_WORDS = (".txt", ".caption")
# The same for a picture whose folder is not listed, where no others are looked for.
_WRITTEN = (*_WORDS, *sorted(form for word in _WORDS for form in (word.upper(), word.title())))


class ImageFolder:
    """A folder of pictures, captioned by metadata.jsonl or by a .txt beside each picture.

    metadata.jsonl has one object a line; `columns` names its fields, paths in it are relative to
    it, and its mask column may hold one path or a list. Without it every picture below the folder
    counts, and there are no conditions and masks. outside: paths may lead out of the folder.
    """

    def __init__(self, folder: Path, columns: Columns, outside: bool = False) -> None:
        if not folder.is_dir():
            raise DatasetError(f"There is no folder {folder}; name one with --train_data_dir.")
        self._folder = folder
        self._paths = TrustedPaths(folder, outside)
        self._columns = columns = replace(columns, image=columns.image or "file_name")
        table = folder / TABLE
        self._listed = table.is_file()
        if not self._listed and (columns.condition or columns.mask):
            raise DatasetError(
                f"Conditions and masks from columns need {table}; write one, or drop "
                f"--conditioning_image_column and --mask_column."
            )
        if self._listed:
            self._check_columns(table)

    def _check_columns(self, table: Path) -> None:
        """DatasetError if no line has a column that is named."""
        wanted = {column: flag for flag, column in self._columns.by_flag().items()}
        first, has_text = None, False
        for row in read_jsonl(table):
            first = first or row
            for column in row.keys() & wanted.keys():
                del wanted[column]
            if not wanted:
                return
            if not has_text:
                has_text = self._words(row.get(self._columns.image)) is not None
        for column, flag in wanted.items():
            if column == self._columns.caption and has_text:
                continue
            raise DatasetError(
                f"No line of {table} has {column!r}, the first only {shown(sorted(first or {}))}; "
                f"name the right one with {flag}."
            )

    def check_apart(self, flag: str, written: Path) -> None:
        """DatasetError if what is written to the folder of a flag would be seen as of the pictures.

        Hidden folders are not looked into.
        """
        pictures, other = self._folder.resolve(), written.resolve()
        if self._listed or not other.is_relative_to(pictures):
            return
        if not any(part.startswith(".") for part in other.relative_to(pictures).parts):
            raise DatasetError(
                f"--{flag} {written} is inside of {self._folder}, where what a run writes would be "
                f"taken for pictures, or for a change of them; name a folder outside."
            )

    def stamp(self) -> str:
        """Return what changes when a file does that is named, or that is in the folder."""
        about = [str(self._folder.resolve()), self._columns.by_flag(), self._paths.anywhere]
        if not self._listed:
            return digest(*about, tree_stamp(self._folder))
        return digest(*about, rows_stamp(self))

    def rows(self) -> Iterator[Row]:
        """Yield the lines of the table, or every picture below the folder by its path."""
        columns = self._columns
        if self._listed:
            for row in read_jsonl(self._folder / TABLE):
                named = {"image": columns.image, "text": columns.caption}
                named |= {"condition": columns.condition, "masks": columns.mask}
                yield {part: row.get(column) for part, column in named.items() if column}
            return
        for path, words in self._pictures():
            yield {"image": path, "words": words}

    def _pictures(self) -> Iterator[tuple[str, str | None]]:
        """Paths of pictures, each with the file of its caption."""
        for folder, names in files_below(self._folder):
            for name, words in _pairs(names):
                yield os.path.join(folder, name), words and os.path.join(folder, words)

    def passed_over(self) -> Mapping[str, int]:
        """Return what is there and not read: pictures, tables, links to folders, suffixes.

        Beside a table it is every picture that no line names, in whatever column.
        """
        found: Counter[str] = Counter()
        named = self._named() if self._listed else None
        for folder, names in files_below(self._folder, found):
            pairs = list(_pairs(names))
            used = {name for pair in pairs for name in pair}
            if named is not None:
                places = [_place(self._folder / folder / image) for image, _ in pairs]
                missing = len(places) - int(np.isin(places, named).sum())
                found[f"pictures that no line of {TABLE} names"] += missing
                used |= {n for n in names if n.startswith(".") or n.lower().endswith(_WORDS)}
                used |= {TABLE} if not folder else set()
            found.update(_kind(folder, name) for name in names if name not in used)
        return +found

    def _named(self) -> np.ndarray:
        """The places of all pictures that the table names, each once."""
        cells = (
            cell
            for row in read_jsonl(self._folder / TABLE)
            for value in row.values()
            for cell in (value if isinstance(value, list) else [value])
            if isinstance(cell, str) and os.path.splitext(cell)[1].lower() in suffixes()
        )
        return np.unique(np.fromiter((_place(self._folder / cell) for cell in cells), np.int64))

    def record(self, row: Row) -> Record:
        """Return how the sample of a row is read; ValueError, OSError: it names no file inside."""
        (image,) = self._files(row, "image")
        condition = self._files(row, "condition") if "condition" in row else []
        masks = self._files(row, "masks") if row.get("masks") else []
        words = row.get("words")
        if row.get("text") is None and "words" not in row:
            words = self._words(row["image"])
        return Record(
            shown(_first(row["image"]), 1000),
            image,
            as_caption(row.get("text")),
            None if words is None else self._content(words),
            condition[0] if condition else None,
            MaskPictures(tuple(masks)) if masks else None,
        )

    def _words(self, image: Any) -> str | None:
        """The file beside a picture that holds its caption."""
        if not isinstance(image, str) or "\0" in image:
            return None
        stem = os.path.splitext(image)[0]
        named = (stem + suffix for suffix in _WRITTEN)
        # Path.is_file fails where a name is too long for the file system.
        return next((name for name in named if os.path.isfile(self._folder / name)), None)

    def _files(self, row: Row, part: str) -> list[FileContent]:
        """The files that a cell names; ValueError if it names none."""
        value = row.get(part)
        cells = value if isinstance(value, list) else [value]
        names = [name for name in cells if isinstance(name, str) and name]
        if len(names) < len(cells) or not names or (part != "masks" and len(names) > 1):
            about = shown(row.get("image"))
            raise ValueError(f"the line of {about} has {shown(value)} for {part}, no file")
        return [self._content(name) for name in names]

    def _content(self, name: str) -> FileContent:
        return FileContent(self._paths.find(name))


def _pairs(names: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Pictures among the files of one folder, each with the file of its caption."""
    known, captions = suffixes(), {}
    for name in sorted(names, key=_rank, reverse=True):  # the first in rank is put last
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in _WORDS:
            captions[stem] = name
    for name in names:
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in known and not name.startswith("."):
            yield name, captions.get(stem)


def _place(path: Path) -> int:
    """A number for where a path leads, since millions of names are too many to keep."""
    try:
        return hash(os.path.realpath(path))
    except ValueError:
        return hash(str(path))


def _kind(folder: str, name: str) -> str:
    """What a file that is not read counts as."""
    stem, suffix = os.path.splitext(name)
    if name.startswith("."):
        return "hidden files"
    if stem == "metadata":
        return shown(os.path.join(folder, name))
    return shown(suffix.lower()) or "no suffix"


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) else value


def _rank(name: str) -> tuple[int, str]:
    """A file's place among those that could be the caption of one picture."""
    suffix = os.path.splitext(name)[1]
    place = _WORDS.index(suffix) if suffix in _WORDS else len(_WORDS)
    return place, name
