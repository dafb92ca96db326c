"""Which samples of a source can be used: each read once, the outcome kept, some held out."""

import errno
import hashlib
import logging
import os
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Self

import numpy as np
from tqdm import tqdm

from .catalogue import Catalogue, CatalogueWriter, Entry
from .digests import digest
from .files import WriteError, remove_left, write_whole
from .known import Known, Skipped, Verdict
from .passed_over import told_passed
from .records import DatasetError, Record, Row, Source
from .room import Room
from .words import shown

log = logging.getLogger(__name__)

_TOLD = 10
_BATCH = 256
_MEMORY = 2**30  # bytes that all threads together decode at once
_THREADS = min(32, (os.cpu_count() or 1) + 4)
# What readers raise of rows and files that are not sound.
_UNREADABLE = (OSError, ValueError, LookupError, TypeError, OverflowError, RecursionError)
# Errors of the system that are a file's own; decoders' have no number. Any other one may pass.
_OF_A_FILE = {
    None,
    errno.EACCES,
    errno.EINVAL,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ENXIO,
    errno.EPERM,
}


class Checked:
    """The samples of a source that can be read, or some of them, by their place in a catalogue."""

    def __init__(self, source: Source, catalogue: Catalogue, places: np.ndarray) -> None:
        self.source = source
        self.catalogue = catalogue
        self.places = places

    @classmethod
    def all(cls, source: Source, catalogue: Catalogue) -> Self:
        """Return every sample of a catalogue."""
        return cls(source, catalogue, np.arange(len(catalogue), dtype=np.int32))

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Record:
        row, entry = self.catalogue.row(self.places[index]), self.entry(index)
        return self.source.record(row).checked(entry.caption, entry.digests)

    def entry(self, index: int) -> Entry:
        """Return what is known of a sample, without opening it."""
        return self.catalogue.entry(self.places[index])

    @property
    def sizes(self) -> np.ndarray:
        """Return the heights and widths of these samples, int32 [N,2] in px."""
        return self.catalogue.sizes[self.places]

    def subset(self, chosen: np.ndarray) -> "Checked":
        """Return some of the samples, in the order given."""
        return Checked(self.source, self.catalogue, self.places[chosen])


def check(source: Source, min_side: int, limit: int | None, folder: Path) -> Checked:
    """Return the samples that can be used, of all or the first `limit`; each is read once.

    min_side: px of the shorter side, below which a picture is left out. What cannot be used is
    named and counted in the log. The outcome is kept in `folder` until a sample is added, removed
    or changed, and what a check has found before it was stopped is not looked for again.

    Raises:
        DatasetError: nothing is left, or a sample cannot be read for a reason that is not its own.
        WriteError: the disk is full.
    """
    name = digest("checked 4", source.stamp(), min_side, limit)
    path = folder / f"checked-{name}.sqlite"
    try:
        catalogue = Catalogue(path)
    except sqlite3.DatabaseError:
        remove_left(folder)
        try:
            write_whole(path, lambda partial: _write(partial, source, min_side, limit, folder))
        except sqlite3.OperationalError as error:
            raise WriteError(
                f"What is known of the pictures could not be written into {folder} ({error}); free "
                f"some space, wait for others that check pictures there, or name another folder "
                f"with --cache_dir."
            ) from error
        catalogue = Catalogue(path)
    _tell(catalogue)
    if not len(catalogue):
        reasons = [reason for _, reason in catalogue.skipped(1)]
        raise DatasetError(
            f"None of the {catalogue.skipped_count()} samples can be used; the first reason: "
            f"{next(iter(reasons), 'there are none')}."
        )
    return Checked.all(source, catalogue)


def _write(path: Path, source: Source, min_side: int, limit: int | None, folder: Path) -> None:
    """Write the catalogue of a source."""
    writer = CatalogueWriter(path)
    rows = islice(source.rows(), limit)
    bar = tqdm(desc="checking pictures", leave=False, mininterval=1)
    with closing(_Judge(source, folder)) as judge, bar:
        for batch in _batched(rows):
            for row, verdict in zip(batch, judge(batch), strict=True):
                match verdict:
                    case Skipped():
                        writer.skip(verdict.key, verdict.reason)
                    case Entry() if min(verdict.size) < min_side:
                        height, width = verdict.size
                        writer.skip(verdict.key, f"is {width} x {height}, smaller than {min_side}")
                    case Entry():
                        writer.add(row, verdict)
            bar.update(len(batch))
    writer.close(source.passed_over())


def _batched(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while batch := list(islice(rows, _BATCH)):
        yield batch


class _Judge:
    """Reads samples in threads that share memory, unless it is known what is in them."""

    def __init__(self, source: Source, folder: Path) -> None:
        self._source = source
        self._known = Known(folder / "known.sqlite")
        self._pool = ThreadPoolExecutor(_THREADS)
        self._room = Room(_MEMORY)

    def __call__(self, rows: Sequence[Row]) -> list[Verdict]:
        """Return what is known of some rows, or found now and kept."""
        names = list(self._pool.map(self._name, rows))
        found = self._known.find(names)
        missing = {n: row for n, row in zip(names, rows, strict=True) if n not in found}
        verdicts = self._pool.map(self._inspect, missing.values())
        new = dict(zip(missing, verdicts, strict=True))
        self._known.add(new)
        return [(found | new)[name] for name in names]

    def close(self) -> None:
        """Drop what has not begun."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._known.close()

    def _name(self, row: Row) -> str:
        """A name for a row and for what its files are at this moment."""
        try:
            stamp = self._source.record(row).stamp()
        except _UNREADABLE as error:
            stamp = str(error)
        return digest("verdict 2", row, stamp)

    def _inspect(self, row: Row) -> Verdict:
        key = f"sample {shown(row.get('image', row))}"
        try:
            record = self._source.record(row)
            key = record.key
            with self._room.take(record.footprint()):
                sample = record.load()
                masks = sample.masks
                black = int((masks.max((1, 2), initial=0) == 0).sum())
                white = int((masks.min((1, 2), initial=255) == 255).sum())
        except MemoryError:
            raise DatasetError(
                f"There is not enough memory to read {key}; free some, and start again: what was "
                f"checked stays."
            ) from None
        except _UNREADABLE as error:
            if isinstance(error, OSError) and error.errno not in _OF_A_FILE:
                raise DatasetError(
                    f"{key} cannot be read now ({error}), which may be no fault of its own; see to "
                    f"the disk, and start again: what was checked stays."
                ) from error
            return Skipped(key, _reason(error))
        counts = (len(masks), black, white)
        return Entry(key, sample.caption, sample.size, sample.digests, *counts)


def _reason(error: BaseException) -> str:
    """What is wrong, in a line; some errors say nothing but what they are."""
    told = shown(str(error), 300)
    speaks = told and isinstance(error, OSError | ValueError)
    return told if speaks else f"{type(error).__name__} {told}".strip()


def _tell(catalogue: Catalogue) -> None:
    for key, reason in catalogue.skipped(_TOLD):
        log.warning("skipped %s: %s", key, reason)
    if skipped := catalogue.skipped_count():
        log.warning("%d of %d samples are skipped.", skipped, skipped + len(catalogue))
    if skipped > _TOLD:
        log.warning("All that are skipped are in the table `skipped` of %s.", catalogue.path)
    if passed := catalogue.passed_over:
        log.warning("%s", told_passed(passed))


def hold_out(checked: Checked, share: float) -> tuple[Checked, Checked]:
    """Return the samples to train on and those held out for validation, by a digest of each key.

    share: of those held out, in 0..1; at least one is, and at least one is not.

    The same set is always split alike, and most of what was held out stays so as it grows.

    Raises:
        DatasetError: there is but one sample.
    """
    count = len(checked)
    if count < 2:
        raise DatasetError("There is one picture only, and one must be held out; add some more.")
    digests = (hashlib.sha256(key.encode()).digest()[:8] for key in checked.catalogue.keys())
    numbers = np.fromiter((int.from_bytes(found) for found in digests), np.uint64)
    order = np.argsort(numbers[checked.places], kind="stable")
    held = np.zeros(count, bool)
    held[order[: max(1, min(count - 1, round(share * count)))]] = True
    return checked.subset(np.flatnonzero(~held)), checked.subset(np.flatnonzero(held))
