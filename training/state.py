"""Training state on disk: safetensors only, written atomically, resumed exactly."""

import json
import logging
import os
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

log = logging.getLogger(__name__)

_NAME = re.compile(r"state-(\d{8})\.safetensors")


class StateError(OSError):
    """A checkpoint that cannot be written; the message says what to do."""


@dataclass
class TrainState:
    """What a run needs to go on as if it had never stopped.

    Random draws are derived from the step, so no generator state is kept. notes: whatever else JSON
    can hold.
    """

    modules: Mapping[str, nn.Module]
    optimizer: torch.optim.Optimizer
    step: int = 0
    notes: dict[str, Any] = field(default_factory=dict)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the state by a stable name (views on the live ones)."""
        out = {
            f"module.{name}.{key}": value
            for name, module in self.modules.items()
            for key, value in module.state_dict().items()
        }
        for index, values in self.optimizer.state_dict()["state"].items():
            for key, value in values.items():
                out[f"optimizer.{index}.{key}"] = torch.as_tensor(value)
        return out

    def save(self, folder: Path, keep: int = 2) -> Path:
        """Write `state-STEP.safetensors` into `folder` and drop all but the newest `keep`.

        Raises:
            StateError: it could not be written; the states before it are untouched.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"state-{self.step:08d}.safetensors"
        partial = path.with_suffix(".partial")
        tensors = {key: value.detach().cpu().contiguous() for key, value in self.tensors().items()}
        about = {"step": json.dumps(self.step), "notes": json.dumps(self.notes)}
        try:
            save_file(tensors, partial, metadata=about)
            with partial.open("rb") as written:
                os.fsync(written.fileno())
            partial.replace(path)
        except (OSError, SafetensorError) as error:
            partial.unlink(missing_ok=True)
            raise StateError(
                f"{path} could not be written ({error}); the checkpoints before it are safe. Free "
                f"some space and resume."
            ) from error
        for old in list_states(folder)[:-keep]:
            old.unlink()
        return path

    def load(self, path: Path) -> None:
        """Restore modules, optimizer and step from one file.

        Raises:
            SafetensorError, KeyError, RuntimeError: it is damaged or of another run.
        """
        with safe_open(path, framework="pt") as file:
            saved = {key: file.get_tensor(key) for key in file.keys()}
            about = file.metadata() or {}
        for name, module in self.modules.items():
            prefix = f"module.{name}."
            module.load_state_dict(
                {k.removeprefix(prefix): v for k, v in saved.items() if k.startswith(prefix)}
            )
        states: dict[int, dict[str, Tensor]] = {}
        for key, value in saved.items():
            if match := re.fullmatch(r"optimizer\.(\d+)\.(.+)", key):
                states.setdefault(int(match[1]), {})[match[2]] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": states, "param_groups": groups})
        self.step = int(json.loads(about["step"]))
        self.notes = json.loads(about.get("notes", "{}"))

    def load_latest(self, folder: Path) -> bool:
        """Resume from the newest readable state; a damaged one is named and passed over."""
        for path in reversed(list_states(folder)):
            try:
                self.load(path)
            except (SafetensorError, KeyError, RuntimeError) as error:
                log.warning("%s is damaged (%s); trying the state before it", path, error)
            else:
                return True
        return False


def list_states(folder: Path) -> list[Path]:
    """The state files in a folder, oldest first."""
    return sorted(path for path in folder.glob("state-*.safetensors") if _NAME.match(path.name))


class StopSignal:
    """Context manager that turns SIGTERM and Ctrl+C into a wish to stop after the current step.

    Example:
        with StopSignal() as stop:
            for step in steps:
                ...
                if stop.wanted:
                    state.save(folder)
                    break
    """

    _SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.wanted = False
        self._before: list[Any] = []

    def __enter__(self) -> "StopSignal":
        self._before = [signal.signal(number, self._note) for number in self._SIGNALS]
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in zip(self._SIGNALS, self._before, strict=True):
            signal.signal(number, handler)

    def _note(self, number: int, _frame: object) -> None:
        log.warning("%s: saving after this step.", signal.Signals(number).name)
        self.wanted = True
