"""Stop a run in the midst, resume it, and compare: the weights must be equal to the byte.

python -m benchmarks.resume

Each run is stopped by SIGKILL at a moment drawn by its seed, again and again until it is done.
"""

import hashlib
import logging
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import tomli_w
from pydantic import Field
from safetensors.torch import load_file

from demo.base import CHECKPOINT
from lab.make.train_adapters import demo_settings
from lab.world.dataset import ScenesSettings, write_dataset
from testbed.comfyui import BUILD
from training.config.commands import CommandSettings, read_settings
from training.loop.state import list_states

log = logging.getLogger(__name__)


class ResumeSettings(CommandSettings):
    """Settings of the demonstration; every one is a command-line flag."""

    checkpoint: Path = Field(CHECKPOINT, description="the base as ComfyUI reads it")
    output_dir: Path = Field(BUILD / "benchmark" / "resume", description="where runs are written")
    runs: int = Field(3, description="how many are stopped")
    max_train_steps: int = Field(12, description="of each run")
    train_batch_size: int = Field(4, description="pictures a step")
    pictures: int = Field(64, description="how many there are")


def state_digest(folder: Path) -> str:
    """Return a digest of what a run ended with: fp32 weights, average, the optimiser's moments."""
    hasher = hashlib.sha256()
    for key, value in sorted(load_file(list_states(folder)[-1]).items()):
        hasher.update(key.encode() + value.numpy().tobytes())
    return hasher.hexdigest()


def start(settings: ResumeSettings, folder: Path) -> subprocess.Popen:
    """Return a run as a process that writes into `folder`, from where it was."""
    train_settings = demo_settings(
        settings.checkpoint,
        folder,
        max_train_samples=settings.pictures,
        max_train_steps=settings.max_train_steps,
        lr_warmup_steps=2,
        train_batch_size=settings.train_batch_size,
        checkpointing_steps=1,
        num_validation_images=0,
        use_ema=True,
        report_to="none",
    )
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "start.toml"
    file.write_text(tomli_w.dumps(train_settings.resolved()))
    command = [sys.executable, "-m", "training.train", "--config", str(file)]
    with (folder / "log.txt").open("ab") as output:
        return subprocess.Popen(command, stdout=output, stderr=output)


def check(process: subprocess.Popen, folder: Path) -> None:
    """End with a sentence if the run has failed by itself."""
    if process.wait():
        raise SystemExit(f"The run failed; see {folder / 'log.txt'}.")


def run_and_kill(settings: ResumeSettings, folder: Path, seed: int) -> int:
    """Return how often a run was killed, after one to five checkpoints each time, until done."""
    rng = np.random.default_rng(seed)
    kills = 0
    while True:
        process = start(settings, folder)
        limit = len_done(folder) + int(rng.integers(1, 6))
        while process.poll() is None and len_done(folder) < limit:
            time.sleep(0.005)
        if process.poll() is None:
            time.sleep(rng.uniform(0, 0.3))
            process.kill()
            process.wait()
        else:
            check(process, folder)
        if (folder / "adapter.safetensors").exists():
            return kills
        kills += 1


def len_done(folder: Path) -> int:
    """Return the step of the newest checkpoint."""
    states = list_states(folder)
    return int(states[-1].stem.removeprefix("state-")) if states else 0


def main() -> None:
    """Print the digest of the whole run and of every killed one."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = read_settings(ResumeSettings)
    shutil.rmtree(settings.output_dir, ignore_errors=True)
    write_dataset(ScenesSettings())
    folder = settings.output_dir / "whole"
    check(start(settings, folder), folder)
    whole = state_digest(folder)
    log.info("never stopped          %s", whole)
    equal = True
    for seed in range(settings.runs):
        folder = settings.output_dir / f"killed-{seed}"
        kills = run_and_kill(settings, folder, seed)
        found = state_digest(folder)
        equal &= found == whole
        log.info("killed %2d times        %s", kills, found)
    log.info("equal" if equal else "NOT EQUAL")
    raise SystemExit(not equal)


if __name__ == "__main__":
    main()
