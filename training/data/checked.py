"""Which samples of a source can be used: read once, the outcome kept, some of them held out."""

import hashlib
import json
import logging
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from PIL import Image
from tqdm.contrib.concurrent import thread_map

from .files import write_text
from .pictures import Size
from .records import DatasetError, Record, Source

log = logging.getLogger(__name__)

_TOLD = 10
# What decoders say of damaged and of oversized files.
_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    SyntaxError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)


@dataclass(frozen=True)
class Checked:
    """The samples of a source that can be read: their records, and sizes (height, width).

    skipped: why others cannot, by their keys.
    """

    source: Source
    indices: tuple[int, ...]
    sizes: tuple[Size, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Record:
        return self.source[self.indices[index]]

    def subset(self, chosen: Sequence[int]) -> "Checked":
        """Some of the samples, in the order given."""
        indices = tuple(self.indices[i] for i in chosen)
        return Checked(self.source, indices, tuple(self.sizes[i] for i in chosen))


def check(source: Source, min_side: int, limit: int | None = None) -> Checked:
    """Read every sample (or the first `limit`) once; name, count and leave out the unusable.

    Raises:
        DatasetError: nothing is left.
    """

    def problem(index: int) -> tuple[str, str | None, Size]:
        try:
            record = source[index]
        except _UNREADABLE as error:
            return f"sample {index}", _reason(error), (0, 0)
        try:
            height, width = record.load().image.shape[:2]
        except _UNREADABLE as error:
            return record.key, _reason(error), (0, 0)
        if min(height, width) < min_side:
            return record.key, f"is {width} x {height}, smaller than {min_side}", (0, 0)
        return record.key, None, (height, width)

    total = len(source) if limit is None else min(limit, len(source))
    found = thread_map(problem, range(total), desc="checking pictures", leave=False)
    skipped = {key: reason for key, reason, _ in found if reason is not None}
    _tell(skipped, total)
    good = [(index, size) for index, (_, reason, size) in enumerate(found) if reason is None]
    if not good:
        raise DatasetError(
            f"None of the {total} samples can be used; the first reason: "
            f"{next(iter(skipped.values()), 'there are none')}."
        )
    indices, sizes = zip(*good, strict=True)
    return Checked(source, indices, sizes, skipped)


def _tell(skipped: Mapping[str, str], total: int) -> None:
    for key, reason in islice(skipped.items(), _TOLD):
        log.warning("skipped %s: %s", key, reason)
    if skipped:
        log.warning("%d of %d samples are skipped.", len(skipped), total)


def check_once(source: Source, min_side: int, limit: int | None, folder: Path) -> Checked:
    """`check`, whose outcome is kept in `folder` until a sample is added, removed or changed."""
    total = len(source) if limit is None else min(limit, len(source))
    hasher = hashlib.sha256(f"2 {min_side} {total}".encode())
    for index in range(total):
        try:
            record = source[index]
        except _UNREADABLE as error:
            hasher.update(str(error).encode())
        else:
            hasher.update(f"{record.key} {record.stamp}\n".encode())
    path = folder / f"checked-{hasher.hexdigest()[:32]}.json"
    if path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        _tell(kept["skipped"], total)
        sizes = tuple(map(tuple, kept["sizes"]))
        return Checked(source, tuple(kept["indices"]), sizes, kept["skipped"])
    checked = check(source, min_side, limit)
    names = ("indices", "sizes", "skipped")
    kept = json.dumps({name: getattr(checked, name) for name in names})
    write_text(path, kept)
    if len(checked.skipped) > _TOLD:
        log.warning("All that are skipped are named in %s.", path)
    return checked


def _reason(error: BaseException) -> str:
    """What is wrong, in a line; some errors say nothing but what they are."""
    return f"{type(error).__name__} {error}" if isinstance(error, KeyError) else str(error)


def hold_out(checked: Checked, share: float) -> tuple[Checked, Checked]:
    """Split into training and validation samples, by a digest of each key.

    The same set is always split alike, and most of what was held out stays so as it grows.

    Raises:
        DatasetError: there is but one sample.
    """
    count = len(checked)
    if count < 2:
        raise DatasetError("There is one picture only, and one must be held out; add some more.")
    order = sorted(range(count), key=lambda i: hashlib.sha256(checked[i].key.encode()).digest())
    held = set(order[: max(1, min(count - 1, round(share * count)))])
    train = [i for i in range(count) if i not in held]
    return checked.subset(train), checked.subset(sorted(held))
