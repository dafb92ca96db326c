"""Training state on disk: safetensors only, written atomically, resumed exactly."""

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..data.files import WriteError, write_tensors

log = logging.getLogger(__name__)

STATE_NAME = re.compile(r"state-(\d{8})\.safetensors")
# What a file is said to be by that is damaged, or of other modules.
UNREADABLE = (SafetensorError, OSError, KeyError, RuntimeError, ValueError, TypeError)


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
        """Return every tensor of the state by a stable name (views on the live ones)."""
        out = {
            f"module.{name}.{key}": value
            for name, module in self.modules.items()
            for key, value in module.state_dict().items()
        }
        for key, value in self._moments().items():
            if isinstance(value, Tensor):
                out[key] = value
        return out

    def _moments(self) -> dict[str, Any]:
        """What the optimizer keeps, tensors and numbers, by a stable name.

        8-bit optimisers keep a dictionary within a parameter's state; its parts follow a slash.
        """
        out: dict[str, Any] = {}
        for index, values in self.optimizer.state_dict()["state"].items():
            for key, value in values.items():
                inner = value if isinstance(value, dict) else {}
                parts = {f"{key}/{part}": entry for part, entry in inner.items()} or {key: value}
                out |= {f"optimizer.{index}.{name}": entry for name, entry in parts.items()}
        return out

    def save(self, folder: Path, keep: int = 2) -> Path:
        """Return the `state-STEP.safetensors` written into `folder`, where the newest `keep` stay.

        States of this and later steps are of a run that was left at an earlier one; they are set
        aside.

        Raises:
            StateError: it could not be written, or a weight is not finite; the states before it are
                untouched.
        """
        path = folder / f"state-{self.step:08d}.safetensors"
        tensors = self.tensors()
        for key, value in tensors.items():
            if key.startswith("module.") and not value.isfinite().all():
                raise StateError(
                    f"At step {self.step} the run has diverged: {key} is not finite. The "
                    f"checkpoints before it are kept; start again with a lower --learning_rate or "
                    f"another --mixed_precision."
                )
        numbers = {k: v for k, v in self._moments().items() if not isinstance(v, Tensor)}
        about = {"step": self.step, "notes": self.notes, "numbers": numbers}
        about["groups"] = [_numbers(group) for group in self.optimizer.param_groups]
        metadata = {key: json.dumps(value) for key, value in about.items()}

        try:
            write_tensors(path, tensors, metadata, before=lambda: _set_aside(folder, path))
        except WriteError as error:
            raise StateError(
                f"{path} could not be written ({error.__cause__}); the checkpoints before it are "
                f"safe. Free some space and resume."
            ) from error
        for old in list_states(folder)[:-keep]:
            old.unlink()
        return path

    def load(self, path: Path) -> None:
        """Restore modules, optimizer and step from one file.

        Raises:
            UNREADABLE: it is damaged or of other modules.
        """
        step, notes = read_notes(path)
        with safe_open(path, framework="pt") as file:
            saved: dict[str, Any] = {key: file.get_tensor(key) for key in file.keys()}
            about = file.metadata() or {}
        saved |= json.loads(about.get("numbers", "{}"))
        for name, module in self.modules.items():
            prefix = f"module.{name}."
            module.load_state_dict(
                {k.removeprefix(prefix): v for k, v in saved.items() if k.startswith(prefix)}
            )
        states: dict[int, dict[str, Any]] = {}
        for key, value in saved.items():
            if match := re.fullmatch(r"optimizer\.(\d+)\.([^/]+)(?:/(.+))?", key):
                values = states.setdefault(int(match[1]), {})
                if match[3] is None:
                    values[match[2]] = value
                else:
                    values.setdefault(match[2], {})[match[3]] = value
        groups = self.optimizer.state_dict()["param_groups"]
        if "groups" in about:
            known = json.loads(about["groups"])
            groups = [group | _numbers(dict(own)) for group, own in zip(groups, known, strict=True)]
        self.optimizer.load_state_dict({"state": states, "param_groups": groups})
        self.step, self.notes = step, notes

    def load_latest(self, folder: Path) -> bool:
        """Return whether there was a readable state, the newest of which is loaded.

        A damaged one is named in the log and passed over.
        """
        for path in reversed(list_states(folder)):
            try:
                self.load(path)
            except UNREADABLE as error:
                log.warning("%s is damaged (%s); trying the state before it", path, error)
            else:
                return True
        return False


def _numbers(group: Mapping[str, Any]) -> dict[str, float]:
    """What an optimiser knows of a group of parameters, such as Prodigy's estimate of a step.

    Its learning rate is a function of the step, and is set again.
    """
    kinds = (int, float)
    return {k: v for k, v in group.items() if type(v) in kinds and k != "lr"}


def _set_aside(folder: Path, path: Path) -> None:
    """Rename the states from `path` on, which are of a run that was left."""
    for left in [state for state in list_states(folder) if state.name >= path.name]:
        log.info("%s is set aside: the run went on from an earlier state", left)
        left.replace(left.with_suffix(".aside"))


def read_notes(path: Path) -> tuple[int, dict[str, Any]]:
    """Return the step and the notes of a state file, without its tensors.

    Raises:
        UNREADABLE: it is damaged or no state.
    """
    with safe_open(path, framework="pt") as file:
        about = file.metadata() or {}
    notes = json.loads(about.get("notes", "{}"))
    if not isinstance(notes, dict):
        raise ValueError(f"its notes are a {type(notes).__name__}")
    return int(json.loads(about["step"])), notes


def list_states(folder: Path) -> list[Path]:
    """Return the state files in a folder, oldest first."""
    found = folder.glob("state-*.safetensors")
    return sorted(path for path in found if STATE_NAME.fullmatch(path.name))
