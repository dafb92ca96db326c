"""WebDataset shards: tar files of pictures and what belongs to them."""

import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from PIL import Image

from .captions import decode_text
from .pictures import IMAGE_SUFFIXES, MaskPictures
from .records import Columns, DatasetError, Record, file_stamp


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
