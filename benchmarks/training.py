"""Images per second and peak memory of training, ours beside the plain diffusers way, in one run.

python -m benchmarks.training
python -m benchmarks.training --against 876a6de

The plain way is what the usual example script does: decode and filter a picture at each use, encode
it and its caption there and then, and train diffusers' T2IAdapter with the noise loss; tuned, it
has channels_last and the fused optimiser too, as ours does. All train the same network (tests hold
the two to equal predictions) on the same base, pictures, batch and device, a GPU if there is one,
in the same precision; ours does so with masked features and the Sobel z0 loss on top, once without
them, and once with the loss of decoded edges instead. Each takes its turn in a process of its own;
on a busy machine the ratio of processor time is the one to read. Building our cache, which is done
once, is timed by itself.
"""

import json
import logging
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import StableDiffusionPipeline, T2IAdapter, UNet2DConditionModel
from PIL import Image
from pydantic import Field

from demo.base import CHECKPOINT
from lab.make.export_base import BaseExportSettings, export_base
from lab.make.train_adapters import demo_settings
from lab.world.dataset import ScenesSettings, write_dataset
from local_control.conditions import canny
from testbed.comfyui import BUILD, ROOT
from training.config.commands import CommandSettings, read_settings
from training.config.processes import fast_bf16, on_cpu, process_state
from training.config.run import TrainSettings
from training.loop.prepare import open_base, open_source, prepare_data
from training.loop.trainer import Trainer

from .revisions import extract

log = logging.getLogger(__name__)

Way = Literal[
    "diffusers", "diffusers, tuned", "ours, noise loss", "ours, local", "ours, decoded edges"
]
_NOISE_LOSS = {"mask_features": False, "z0_loss_weight": 0.0}
# What changes the preset.
_OURS: dict[Way, dict[str, object]] = {
    "ours, noise loss": _NOISE_LOSS,
    "ours, local": {},
    "ours, decoded edges": _NOISE_LOSS | {"decoded_loss_weight": 1.0, "decoded_loss_cells": 8},
}
WAYS: tuple[Way, ...] = ("diffusers", "diffusers, tuned", *_OURS)


class Seconds(NamedTuple):
    """What a step takes: of the clock, and of the processor in all threads."""

    clock: float
    processor: float


class ThroughputSettings(CommandSettings):
    """Settings of the benchmark; every one is a command-line flag."""

    checkpoint: Path = Field(CHECKPOINT, description="the base as ComfyUI reads it")
    pictures: int = Field(256, description="how many there are")
    train_batch_size: int = Field(16, description="pictures a step")
    steps: int = Field(8, description="that are timed, of every way in each round")
    rounds: int = Field(3, description="turns of every way")
    mixed_precision: Literal["no", "bf16"] = Field(
        default_factory=lambda: "bf16" if not on_cpu() or fast_bf16() else "no",
        description="of all ways (default: bf16 where the CPU has it, or on a GPU)",
    )
    against: str | None = Field(
        None, description="measure ours beside that of an earlier revision alone, by its git name"
    )
    way: Way | None = Field(None, description="measure one alone, in this process")


def train_settings_of(settings: ThroughputSettings, **changes: object) -> TrainSettings:
    """Return the settings of the demo preset on a few pictures."""
    folder = BUILD / "benchmark" / "training"
    train_settings = demo_settings(
        settings.checkpoint,
        folder,
        max_train_samples=settings.pictures,
        max_train_steps=settings.steps + 1,
        lr_warmup_steps=1,
        train_batch_size=settings.train_batch_size,
        mixed_precision=settings.mixed_precision,
        report_to="none",
        **changes,
    )
    return train_settings.model_copy(update={"cache_dir": folder / "cache"})


def ours(settings: ThroughputSettings, changes: dict[str, object]) -> list[Seconds]:
    """Return what each step takes, the first left out as a warm-up."""
    train_settings = train_settings_of(settings, **changes)
    base = open_base(train_settings)
    data = prepare_data(train_settings, base, open_source(train_settings))
    run = Trainer(train_settings, base, data)
    batches = run.batches()
    return timed(lambda step: run.step(batches, step), settings.steps)


def plain(settings: ThroughputSettings, tuned: bool) -> list[Seconds]:
    """Return the seconds of each step of a loop as in the examples of diffusers."""
    folder = export_base(BaseExportSettings(checkpoint=settings.checkpoint))
    device, bf16 = device_of_all(), settings.mixed_precision == "bf16"
    pipeline = StableDiffusionPipeline.from_pretrained(folder).to(device)
    unet: UNet2DConditionModel = pipeline.unet.requires_grad_(False)
    if bf16 and device.type != "cpu":  # there ours keeps it in fp32 too
        unet.to(torch.bfloat16)
    if tuned:
        unet.to(memory_format=torch.channels_last)
    vae, scale = pipeline.vae.requires_grad_(False), pipeline.vae.config.scaling_factor
    text = pipeline.text_encoder.requires_grad_(False)
    alphas = pipeline.scheduler.alphas_cumprod.to(device)
    channels = unet.config["block_out_channels"]
    adapter = T2IAdapter(in_channels=1, channels=list(channels), adapter_type="full_adapter")
    adapter.to(device)
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=5e-4, fused=tuned)
    lines = (ScenesSettings().output_dir / "metadata.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines[: settings.pictures]]
    rng = np.random.default_rng(0)
    amp = torch.autocast(device.type, torch.bfloat16, enabled=bf16)

    def step(_index: int) -> None:
        chosen = [rows[i] for i in rng.integers(0, len(rows), settings.train_batch_size)]
        files = [ScenesSettings().output_dir / row["file_name"] for row in chosen]
        pixels = [np.array(Image.open(file).convert("RGB")) for file in files]
        images = torch.from_numpy(np.stack(pixels)).movedim(-1, 1).float() / 255
        condition, images = canny(images).to(device), images.to(device)
        tokens = pipeline.tokenizer(
            [row["text"] for row in chosen],
            padding="max_length",
            truncation=True,
            return_tensors="pt",
        ).input_ids
        with torch.no_grad(), amp:
            z0 = vae.encode(2 * images - 1).latents.float() * scale
            context = text(tokens.to(device)).last_hidden_state
        t, noise = torch.randint(0, len(alphas), (len(z0),), device=device), torch.randn_like(z0)
        a = alphas[t].view(-1, 1, 1, 1)
        with amp:
            features = adapter(condition)
            output = unet(
                a.sqrt() * z0 + (1 - a).sqrt() * noise,
                t,
                context,
                down_intrablock_additional_residuals=features,
            ).sample
        F.mse_loss(output.float(), noise).backward()
        torch.nn.utils.clip_grad_norm_(adapter.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return timed(step, settings.steps)


def device_of_all() -> torch.device:
    """Return where every way computes: where a run of ours does."""
    return process_state().device or torch.device("cpu")


def timed(step: Callable[[int], object], count: int) -> list[Seconds]:
    """Return what `count` steps take, after one warm-up."""
    found = []
    for index in range(count + 1):
        clock, processor = time.perf_counter(), time.process_time()
        step(index)
        if not on_cpu():
            torch.accelerator.synchronize()
        found.append(Seconds(time.perf_counter() - clock, time.process_time() - processor))
    return found[1:]


def run_apart(settings: ThroughputSettings, way: Way, tree: Path = ROOT) -> dict[str, float]:
    """Return what `measure` finds of one way, in a process of its own; tree: whose code runs."""
    flags = [
        *("--way", way, "--checkpoint", str(settings.checkpoint)),
        *("--pictures", str(settings.pictures), "--steps", str(settings.steps)),
        *("--train_batch_size", str(settings.train_batch_size)),
        *("--mixed_precision", settings.mixed_precision),
    ]
    command = [sys.executable, "-m", "benchmarks.training", *flags]
    found = subprocess.run(command, cwd=tree, check=True, capture_output=True, text=True)
    return json.loads(found.stdout.splitlines()[-1])


def measure(settings: ThroughputSettings, way: Way) -> dict[str, float]:
    """Return images per second, of the clock and of the processor, and peak memory in GiB."""
    is_ours = way in _OURS
    seconds = ours(settings, _OURS[way]) if is_ours else plain(settings, way == "diffusers, tuned")
    rates = [settings.train_batch_size / median(kind) for kind in zip(*seconds, strict=True)]
    return dict(zip(("images/s", "images/processor second"), rates, strict=True)) | {"GiB": peak()}


def peak() -> float:
    """Return the most GiB that this process has had: on a GPU what it allocated there."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def ratio(rounds: list[dict[Way, dict[str, float]]], way: Way, key: str) -> str:
    """Return how many times the plain way's a rate is, with its spread over rounds."""
    ratios = [one[way][key] / one["diffusers"][key] for one in rounds]
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def compare_with(settings: ThroughputSettings, tree: Path) -> None:
    """Let ours and that of an earlier revision take turns, and print the ratio of the clock's."""
    scenes = tree / "build" / "scenes"
    scenes.parent.mkdir(exist_ok=True)
    if not scenes.exists():
        scenes.symlink_to(ScenesSettings().output_dir)
    ratios = []
    for _ in range(settings.rounds):
        before, now = (run_apart(settings, "ours, local", code) for code in (tree, ROOT))
        ratios.append(now["images/s"] / before["images/s"])
        log.info("%.2f images/s, before %.2f", now["images/s"], before["images/s"])
    spread = min(ratios), max(ratios)
    log.info("%.2f times as fast as %s (%.2f to %.2f)", median(ratios), tree.name, *spread)


def main() -> None:
    """Let all ways take turns and print their ratios."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = read_settings(ThroughputSettings)
    if settings.way is not None:
        sys.stdout.write(json.dumps(measure(settings, settings.way)) + "\n")
        return
    write_dataset(ScenesSettings())
    train_settings = train_settings_of(settings)
    shutil.rmtree(train_settings.output_dir, ignore_errors=True)
    base = open_base(train_settings)
    started = time.perf_counter()
    prepare_data(train_settings, base, open_source(train_settings))
    log.info(
        "cache built once at %.1f images/s", settings.pictures / (time.perf_counter() - started)
    )
    if settings.against is not None:
        compare_with(settings, extract(settings.against))
        return
    rounds = [{way: run_apart(settings, way) for way in WAYS} for _ in range(settings.rounds)]
    for way in WAYS:
        rate, most = (median(one[way][key] for one in rounds) for key in ("images/s", "GiB"))
        line = "%-19s %6.1f images/s, %s x diffusers, of processor time %s, peak %.2f GiB"
        ratios = [ratio(rounds, way, key) for key in ("images/s", "images/processor second")]
        log.info(line, way, rate, *ratios, most)


if __name__ == "__main__":
    main()
