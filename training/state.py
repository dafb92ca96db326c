"""Training state on disk: safetensors only, written atomically, resumed exactly."""

import json
import logging
import os
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

log = logging.getLogger(__name__)

_NAME = re.compile(r"state-(\d{8})\.safetensors")


@dataclass
class TrainState:
    """What a run needs to go on as if it had never stopped.

    Random draws are derived from the step, so no generator state is kept.
    """

    modules: Mapping[str, nn.Module]
    optimizer: torch.optim.Optimizer
    step: int = 0

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the state by a stable name (views on the live ones)."""
        out = {
            f"module.{name}.{key}": value
            for name, module in self.modules.items()
            for key, value in module.state_dict().items()
        }
        for index, parameter in enumerate(self._parameters()):
            for key, value in self.optimizer.state.get(parameter, {}).items():
                out[f"optimizer.{index}.{key}"] = value
        return out

    def save(self, folder: Path, keep: int = 2) -> Path:
        """Write `state-STEP.safetensors` into `folder` and drop all but the newest `keep`."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"state-{self.step:08d}.safetensors"
        partial = path.with_suffix(".partial")
        tensors = {key: value.detach().cpu().contiguous() for key, value in self.tensors().items()}
        save_file(tensors, partial, metadata={"step": json.dumps(self.step)})
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)
        for old in list_states(folder)[:-keep]:
            old.unlink()
        return path

    def load(self, path: Path) -> None:
        """Restore modules, optimizer and step from one file."""
        with safe_open(path, framework="pt") as file:
            saved = {key: file.get_tensor(key) for key in file.keys()}
            self.step = int(json.loads((file.metadata() or {})["step"]))
        for name, module in self.modules.items():
            prefix = f"module.{name}."
            module.load_state_dict(
                {k.removeprefix(prefix): v for k, v in saved.items() if k.startswith(prefix)}
            )
        for index, parameter in enumerate(self._parameters()):
            prefix = f"optimizer.{index}."
            self.optimizer.state[parameter] = {
                k.removeprefix(prefix): v for k, v in saved.items() if k.startswith(prefix)
            }

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

    def _parameters(self) -> list[nn.Parameter]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]


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
