"""WebDataset shards: tar files of pictures and what belongs to them."""

import os
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath

from .digests import digest
from .folder import TABLE
from .mask_pictures import MaskPictures
from .pictures import suffixes
from .records import Columns, DatasetError, Record, Row
from .shard_files import Shard
from .tree import files_below
from .words import shown

Files = dict[str, tuple[int, int]]  # suffix -> where its bytes begin, and how many there are


class TarShards:
    """WebDataset shards, read at random.

    A sample is all files of one name. columns: their suffixes. The picture is, unless one is named,
    the first file that looks like one and is no condition or mask; the caption may be NAME.txt.
    """

    def __init__(self, shards: Sequence[Shard], columns: Columns) -> None:
        if not shards:
            raise DatasetError("There are no .tar shards in the folder.")
        self._shards = {shard.name: shard for shard in shards}
        self._columns = columns
        pictures = {suffix.removeprefix(".") for suffix in suffixes()}
        pictures -= {columns.condition, columns.mask}
        self._suffixes = {columns.image} if columns.image else pictures
        self._passed: Counter[str] | None = None

    def stamp(self) -> str:
        """Return what changes when a shard does."""
        stamps = [shard.stamp() for shard in self._shards.values()]
        return digest(self._columns.by_flag(), *stamps)

    def rows(self) -> Iterator[Row]:
        """Yield where the parts of each sample are.

        Every shard is read through once, unless the first one lacks a column.

        Raises:
            DatasetError: a shard is damaged, or no sample has a column.
        """
        self._passed = passed = Counter()
        first, *others = self._shards.values()
        samples = _samples(first, passed)
        self._check_columns(samples, others)
        yield from self._rows_of(first, samples, passed)
        for shard in others:
            yield from self._rows_of(shard, _samples(shard, passed), passed)

    def _rows_of(
        self, shard: Shard, samples: Mapping[str, Files], passed: Counter[str]
    ) -> Iterator[Row]:
        """The rows of a shard; what they do not use is counted in `passed`."""
        columns = self._columns
        used = {columns.caption, "txt", columns.condition, columns.mask}
        for files in samples.values():
            image = self._image(files)
            unused = files.keys() - {image} - (used if image else set())
            passed.update(f".{shown(suffix)}" for suffix in unused)
        for name, files in samples.items():
            image = self._image(files)
            if image is None:
                continue
            words = files.get(columns.caption, files.get("txt"))
            row = {"shard": shard.name, "name": name, "image": files[image], "words": words}
            if columns.condition:
                row["condition"] = files.get(columns.condition)
            if columns.mask:
                row["masks"] = files.get(columns.mask)
            yield row

    def _image(self, files: Files) -> str | None:
        """The suffix of a sample's picture, if it has one."""
        return next((suffix for suffix in files if suffix in self._suffixes), None)

    def _check_columns(self, samples: Mapping[str, Files], others: Sequence[Shard]) -> None:
        """DatasetError if neither the samples of the first shard nor the others have a column."""
        # For captions NAME.txt will do.
        wanted = {c: f for f, c in self._columns.by_flag().items() if c != self._columns.caption}
        known: set[str] = set()
        for found in chain([samples], (_samples(shard, Counter()) for shard in others)):
            known.update(*found.values())
            if wanted.keys() <= known:
                return
        column = next(column for column in wanted if column not in known)
        raise DatasetError(
            f"No sample of the shards in {self._place()} has a file NAME.{column}, only "
            f"{shown(sorted(known))}; name the right one with {wanted[column]}."
        )

    def _place(self) -> str:
        return next(iter(self._shards.values())).place

    def passed_over(self) -> Mapping[str, int]:
        """Return what is in the shards and not read: links, devices, suffixes.

        It is counted while rows are listed, in the shards that were read for them.
        """
        if self._passed is None:
            for _ in self.rows():
                pass
        return self._passed or {}

    def record(self, row: Row) -> Record:
        """Return how the sample of a row is read; ValueError: it has no condition."""
        key = shown(f"{row['shard']}/{row['name']}", 1000)
        if "condition" in row and row["condition"] is None:
            raise ValueError(f"{key} has no file NAME.{self._columns.condition}")
        shard = self._shards[row["shard"]]
        parts = {
            part: None if row.get(part) is None else shard.part(*row[part])
            for part in ("words", "condition", "masks")
        }
        return Record(
            key,
            shard.part(*row["image"]),
            text=parts["words"],
            condition=parts["condition"],
            masks=None if parts["masks"] is None else MaskPictures((parts["masks"],)),
        )


def only_shards(folder: Path, output_dir: Path) -> list[Path]:
    """Return the shards in a folder, or none if it has a table, or a picture anywhere below it.

    output_dir: what a run writes its own pictures into, which do not count.
    """
    found = sorted(folder.glob("*.tar"))
    if found and ((folder / TABLE).is_file() or _has_picture(folder, output_dir.resolve())):
        return []
    return found


def _has_picture(folder: Path, output_dir: Path) -> bool:
    resolved = folder.resolve()
    return any(
        not name.startswith(".") and Path(name).suffix.lower() in suffixes()
        for below, names in files_below(folder)
        if not (resolved / below).is_relative_to(output_dir)
        for name in names
    )


def _samples(shard: Shard, passed: Counter[str]) -> dict[str, Files]:
    """The files of a shard by the names of their samples, without a leading `./`.

    passed: counts the members that are no files, and names that come again.

    Raises:
        DatasetError: it is damaged.
    """
    samples: dict[str, Files] = {}
    try:
        with shard.open() as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue] # it keeps all
                if member.isdir():
                    continue
                if not member.isfile() or member.sparse is not None:
                    passed["links, devices and sparse files"] += 1
                    continue
                name = PurePosixPath(member.name)
                stem, _, suffix = name.name.partition(".")
                if not stem or not suffix:
                    passed["files without a name or suffix"] += 1
                    continue
                files = samples.setdefault(str(name.with_name(stem)), {})
                passed["files of a name that came before"] += suffix.lower() in files
                files[suffix.lower()] = (member.offset_data, member.size)
            if file.seek(0, os.SEEK_END) % tarfile.BLOCKSIZE:  # a cut header looks like an end
                raise tarfile.ReadError("unexpected end of data")
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError) as error:
        raise DatasetError(
            f"The shard {shard.place}/{shard.name} cannot be read ({shown(str(error))}); it must "
            f"be a whole tar file without compression: download or write it again, or move it away."
        ) from error
    passed += Counter()  # drops what was never found
    return samples
