"""Stop a run in the midst, resume it, and compare: the weights must be equal to the byte.

python -m benchmarks.resume

Each run is stopped by SIGKILL at a moment drawn by its seed, again and again until it is done.
"""

import hashlib
import logging
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import tomli_w
from safetensors.torch import load_file

from demo.base import CHECKPOINT
from demo.comfyui import BUILD
from demo.dataset import Config as SceneConfig
from demo.dataset import write_dataset
from demo.train_adapters import demo_settings
from training.settings import CommandSettings, read_settings
from training.state import list_states

log = logging.getLogger(__name__)


class Config(CommandSettings):
    """Settings of the demonstration; every one is a command-line flag."""

    checkpoint: Path = CHECKPOINT
    output_dir: Path = BUILD / "benchmark" / "resume"
    runs: int = 3
    max_train_steps: int = 12
    train_batch_size: int = 4
    pictures: int = 64


def weights_digest(path: Path) -> str:
    """A digest of an adapter's tensors by name."""
    hasher = hashlib.sha256()
    for key, value in sorted(load_file(path).items()):
        hasher.update(key.encode() + value.numpy().tobytes())
    return hasher.hexdigest()


def start(config: Config, name: str) -> tuple[subprocess.Popen, Path]:
    """One run as a process, and the file that it will write."""
    settings = demo_settings(
        config.checkpoint,
        config.output_dir / name,
        max_train_samples=config.pictures,
        max_train_steps=config.max_train_steps,
        lr_warmup_steps=2,
        train_batch_size=config.train_batch_size,
        checkpointing_steps=1,
        num_validation_images=0,
        use_ema=True,
        report_to="none",
    )
    settings.output_dir.mkdir(parents=True, exist_ok=True)
    file = settings.output_dir / "start.toml"
    file.write_text(tomli_w.dumps(settings.resolved()))
    command = [sys.executable, "-m", "training.train", "--config", str(file)]
    output = (settings.output_dir / "log.txt").open("ab")
    process = subprocess.Popen(command, stdout=output, stderr=output)
    return process, settings.output_dir / "adapter.safetensors"


def run_and_kill(config: Config, seed: int) -> tuple[int, Path]:
    """Kill a run after every one to five of its checkpoints -> how often, and its file."""
    rng = np.random.default_rng(seed)
    kills = 0
    while True:
        process, file = start(config, f"killed-{seed}")
        before = len_done(file.parent)
        limit = before + int(rng.integers(1, 6))
        while process.poll() is None and len_done(file.parent) < limit:
            time.sleep(0.005)
        if process.poll() is not None:
            return kills, file
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        process.wait()
        if file.exists():
            return kills, file
        kills += 1


def len_done(folder: Path) -> int:
    """The step of the newest checkpoint."""
    states = list_states(folder)
    return int(states[-1].stem.removeprefix("state-")) if states else 0


def main() -> None:
    """Print the digest of the whole run and of every killed one."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = read_settings(Config)
    write_dataset(SceneConfig())
    process, file = start(config, "whole")
    if process.wait():
        raise SystemExit(f"The run failed; see {file.parent / 'log.txt'}.")
    whole = weights_digest(file)
    log.info("never stopped          %s", whole)
    equal = True
    for seed in range(config.runs):
        kills, file = run_and_kill(config, seed)
        found = weights_digest(file)
        equal &= found == whole
        log.info("killed %2d times        %s", kills, found)
    log.info("equal" if equal else "NOT EQUAL")
    raise SystemExit(not equal)


if __name__ == "__main__":
    main()
