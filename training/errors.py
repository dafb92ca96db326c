"""What a user can mend, said in one sentence; everything else keeps its traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from local_control.checkpoint import AdapterFileError

from .config.commands import SettingsError
from .config.machine import MachineError
from .data.records import DatasetError
from .data.shard_files import UnreachableError
from .loop.resume import ResumeError
from .models.bases import BaseModelError

_USER_ERRORS = (
    DatasetError,
    BaseModelError,
    AdapterFileError,
    MachineError,
    ResumeError,
    SettingsError,
    UnreachableError,
    OSError,
)


@contextmanager
def one_sentence(out_of_memory: str) -> Iterator[None]:
    """Yield to a command, of whose errors a user reads what can be mended in one sentence.

    out_of_memory: says what to do if memory is not enough.

    Raises:
        SystemExit: with the sentence.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise SystemExit(f"Out of GPU memory. {out_of_memory}") from None
    except RuntimeError as error:  # what torch's allocator on CPUs raises
        if "can't allocate memory" not in str(error):
            raise
        raise SystemExit(f"Out of memory. {out_of_memory}") from None
    except KeyboardInterrupt:
        raise SystemExit(
            "stopped; what was checked and encoded stays, and the same command goes on from there"
        ) from None
    except _USER_ERRORS as error:
        raise SystemExit(_sentence(error)) from error


def _sentence(error: Exception) -> str:
    """What an error says; a loader's workers hand on theirs with a traceback before it."""
    text = str(error).strip()
    if "Original Traceback" not in text:
        return text
    return text.splitlines()[-1].partition(": ")[2]
