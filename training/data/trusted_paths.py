"""Paths that a data set names: none leads out of its folder."""

import os
from dataclasses import dataclass
from pathlib import Path

from .words import shown


@dataclass(frozen=True)
class TrustedPaths:
    """Where the files of a data set may be.

    folder: what relative paths are relative to. roots: folders besides it. anywhere: as
    `--allow_outside_paths` asks for.
    """

    folder: Path
    anywhere: bool = False
    roots: tuple[Path, ...] = ()

    def find(self, name: str) -> Path:
        """Return the path that a name stands for, links followed.

        Raises:
            ValueError: it leads outside, or is no path.
        """
        found = Path(os.path.realpath(self.folder / name))
        allowed = (self.folder, *self.roots)
        if self.anywhere or any(found.is_relative_to(os.path.realpath(root)) for root in allowed):
            return found
        raise ValueError(
            f"{shown(name)} is outside of the data set's folder; add --allow_outside_paths if it "
            f"is meant"
        )
