"""A folder of pictures with their words: beside each of them, or in metadata.jsonl."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from .captions import as_caption, decode_text
from .pictures import IMAGE_SUFFIXES, MaskPictures, PictureFile
from .records import Columns, DatasetError, Record, file_stamp


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
        """Return the files that a cell names; ValueError if it names none."""
        value = row.get(column)
        cells = value if isinstance(value, list) else [value]
        names = [name for name in cells if isinstance(name, str) and name]
        if len(names) < len(cells):
            about = row.get(self._columns.image)
            raise ValueError(f"the line of {about!r} has {value!r} for {column!r}, no file")
        return [self._folder / name for name in names]


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON Lines file; DatasetError names the line that is none."""
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
