"""How a run's start grows with its pictures: CPU time, memory of a process, files of the cache.

python -m benchmarks.growth

Makes folders of 1,000, 10,000 and 100,000 tiny pictures with captions, and starts a run on each in
processes of their own: cold, which checks all pictures and fills the cache, and warm. Encoders are
left out, since their time is that of the pictures; what is measured is what is done around them.
"""

import json
import logging
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from demo.base import CHECKPOINT
from lab.make.export_base import BaseExportSettings, export_base
from testbed.comfyui import BUILD
from training.config.commands import CommandSettings, read_settings
from training.config.run import TrainSettings
from training.loop.examples import Examples, Places, loader
from training.loop.parts import division_of, draws_of
from training.loop.plan import EpochPlan
from training.loop.prepare import open_base, open_source, prepare_data
from training.models.bases import Base

log = logging.getLogger(__name__)

# What is aimed at: seconds of CPU and bytes a picture at a warm start, files a picture.
AIMS = {"warm CPU s": 10.0, "bytes a picture": 100.0, "files a picture": 0.01}
_BATCHES = 50


class GrowthSettings(CommandSettings):
    """Settings of the benchmark; every one is a command-line flag."""

    checkpoint: Path = Field(CHECKPOINT, description="the base as ComfyUI reads it")
    counts: tuple[int, ...] = Field((1_000, 10_000, 100_000), description="of pictures")
    crop_variants: int = Field(1, description="crops of each that are cached")
    output_dir: Path = Field(
        BUILD / "benchmark" / "growth", description="where folders and runs are written"
    )
    one: int | None = Field(None, description="measure a start on so many alone, in this process")
    start: Literal["cold", "warm"] = Field("cold", description="what that start finds of the cache")


def make_pictures(folder: Path, count: int) -> None:
    """Write pictures of 64 px and captions, in folders of a thousand."""
    noise = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    for start in range(0, count, 1000):
        below = folder / f"{start:08d}"
        below.mkdir(parents=True, exist_ok=True)
        for index in range(start, min(count, start + 1000)):
            tile = np.roll(noise, index, 0) + np.uint8(index % 251)
            image = cv2.resize(tile, (64, 64), interpolation=cv2.INTER_NEAREST)
            image[0, 0] = (index % 256, index // 256 % 256, index // 65536)
            cv2.imwrite(str(below / f"{index:08d}.png"), image)
            words = f"picture number {index} of a thing that is told in some words"
            (below / f"{index:08d}.txt").write_text(words)


def without_encoders(base: Base) -> None:
    """Have the base answer at once, with zeros of the right shapes."""

    def encode_images(images: Tensor) -> Tensor:
        return torch.zeros(len(images), 8, images.shape[2] // 8, images.shape[3] // 8)

    def encode_text(captions: list[str]) -> dict[str, Tensor]:
        return {"context": torch.zeros(len(captions), 77, 64)}

    base.encode_images = encode_images
    base.encode_text = encode_text
    base.is_cut = lambda caption: False


def train_settings_of(settings: GrowthSettings, count: int) -> TrainSettings:
    """Return the settings of a run on so many pictures."""
    folder = settings.output_dir / str(count)
    return TrainSettings(
        pretrained_model_name_or_path=str(
            export_base(BaseExportSettings(checkpoint=settings.checkpoint))
        ),
        train_data_dir=folder / "pictures",
        output_dir=folder / "run",
        resolution=64,
        crop_variants=settings.crop_variants,
        train_batch_size=16,
        report_to="none",
    )


def measure(settings: GrowthSettings, count: int) -> dict[str, float]:
    """Return what a start takes in this process: data prepared, an epoch planned, batches read."""
    train_settings = train_settings_of(settings, count)
    base = open_base(train_settings)
    without_encoders(base)
    before, started = _resident(), time.process_time()
    data = prepare_data(train_settings, base, open_source(train_settings))
    division = division_of(train_settings, 0, 1)
    plan = EpochPlan(data.train.buckets, division.whole, train_settings.seed)
    examples = Examples(data.train, data.prepared, draws_of(train_settings))
    batches = iter(loader(examples, Places(plan, division, range(_BATCHES)), 0))
    next(batches)
    found = {"CPU s": time.process_time() - started}
    for _ in batches:
        pass
    found |= {"MiB": (_resident() - before) / 2**20, "peak MiB": _peak() / 2**10}
    return found


def _resident() -> int:
    """Bytes of memory that this process has now, without files that are only mapped."""
    pages = Path("/proc/self/statm").read_text().split()
    return (int(pages[1]) - int(pages[2])) * resource.getpagesize()


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def run_apart(settings: GrowthSettings, count: int, start: str) -> dict[str, float]:
    """Return what one start takes in a process of its own."""
    flags = ["--one", str(count), "--start", start, "--output_dir", str(settings.output_dir)]
    flags += ["--checkpoint", str(settings.checkpoint)]
    flags += ["--crop_variants", str(settings.crop_variants)]
    command = [sys.executable, "-m", "benchmarks.growth", *flags]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(found.stdout.splitlines()[-1])


def main() -> None:
    """Print what each count takes, and how memory grows from the first to the last."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = read_settings(GrowthSettings)
    if settings.one is not None:
        sys.stdout.write(json.dumps(measure(settings, settings.one)) + "\n")
        return
    warm = {}
    for count in settings.counts:
        folder = settings.output_dir / str(count)
        shutil.rmtree(folder, ignore_errors=True)
        make_pictures(folder / "pictures", count)
        cold = run_apart(settings, count, "cold")
        warm[count] = run_apart(settings, count, "warm")
        files = sum(path.is_file() for path in (folder / "run" / "cache").rglob("*"))
        log.info(
            "%7d pictures: cold start %.1f s of CPU, warm %.2f s; memory +%.0f MiB; %.4f files a "
            "picture",
            *(count, cold["CPU s"], warm[count]["CPU s"], warm[count]["MiB"], files / count),
        )
    least, most = min(warm), max(warm)
    growth = (warm[most]["MiB"] - warm[least]["MiB"]) * 2**20 / max(1, most - least)
    log.info("memory grows by %.0f bytes a picture; aims: %s", growth, AIMS)


if __name__ == "__main__":
    main()
