"""What an evaluation has found so far, on disk: after a kill it goes on from there."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..data.files import write_tensors


@dataclass(frozen=True)
class Progress:
    """What was found of each batch of cases, in a folder that is named by all it depends on."""

    folder: Path

    def read(self, batch: int) -> dict[str, Tensor] | None:
        """Return what was kept of a batch, or None: nothing, or it is damaged."""
        try:
            return load_file(self._path(batch))
        except (OSError, SafetensorError):
            return None

    def keep(self, batch: int, found: Mapping[str, Tensor]) -> None:
        """Keep what was found of a batch.

        Raises:
            WriteError: it could not be written.
        """
        write_tensors(self._path(batch), found)

    def finish(self) -> None:
        """Remove all of it, once the report is written."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, batch: int) -> Path:
        return self.folder / f"batch-{batch:06d}.safetensors"
