"""Peak memory of training beside a base of SD1.5's full size, with random weights.

python -m benchmarks.fullsize

Writes a base of 860 million weights in fp16 and a few pictures, and goes some steps of
`training.train` on the CPU, with gradient checkpointing, in a process of its own.
"""

import logging
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from pydantic import Field
from transformers import CLIPTextConfig, CLIPTextModel

from demo.base import SCHEDULE, load_tokenizer
from testbed.comfyui import BUILD
from training.config.commands import CommandSettings, read_settings

log = logging.getLogger(__name__)

_AIM_GIB = 8.0
_PICTURES = 10
_TEXT_WIDTH = 768
_VAE_CHANNELS = (128, 256, 512, 512)


class FullSizeSettings(CommandSettings):
    """Settings of the benchmark; every one is a command-line flag."""

    control: Literal["adapter", "controlnet"] = Field("adapter", description="what is trained")
    resolution: int = Field(256, description="px, side of the pictures")
    max_train_steps: int = Field(3, description="steps of the run")
    output_dir: Path = Field(BUILD / "benchmark" / "fullsize", description="where all is written")


def write_base(folder: Path) -> None:
    """Write a pipeline of SD1.5's shape with random weights in fp16."""
    torch.manual_seed(0)
    text = CLIPTextConfig(
        hidden_size=_TEXT_WIDTH,
        intermediate_size=4 * _TEXT_WIDTH,
        num_attention_heads=12,
        projection_dim=_TEXT_WIDTH,
    )
    autoencoder = AutoencoderKL(
        block_out_channels=_VAE_CHANNELS,
        down_block_types=("DownEncoderBlock2D",) * len(_VAE_CHANNELS),
        up_block_types=("UpDecoderBlock2D",) * len(_VAE_CHANNELS),
        layers_per_block=2,
        latent_channels=4,
    )
    pipeline = StableDiffusionPipeline(
        vae=autoencoder.half(),
        text_encoder=CLIPTextModel(text).half(),
        tokenizer=load_tokenizer(),
        unet=UNet2DConditionModel(sample_size=64, cross_attention_dim=_TEXT_WIDTH).half(),
        scheduler=DDIMScheduler(**SCHEDULE, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)


def write_pictures(folder: Path, side: int) -> None:
    """Write pictures of coarse noise, with captions."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for index in range(_PICTURES):
        image = cv2.resize(rng.integers(0, 255, (8, 8, 3), np.uint8), (side, side))
        cv2.imwrite(str(folder / f"{index}.png"), image)
        (folder / f"{index}.txt").write_text(f"noise {index}")


def train(settings: FullSizeSettings, base: Path, pictures: Path) -> None:
    """Run the trainer in a process of its own; its last words are told if it fails."""
    flags = {
        "pretrained_model_name_or_path": base,
        "train_data_dir": pictures,
        "output_dir": settings.output_dir / f"{settings.control}-{time.time_ns()}",
        "cache_dir": settings.output_dir / "cache",
        "control": settings.control,
        "resolution": settings.resolution,
        "crop_variants": 1,
        "validation_share": 0.2,
        "train_batch_size": 1,
        "max_train_steps": settings.max_train_steps,
        "lr_warmup_steps": 1,
        "validation_timesteps": 500,
        "num_validation_images": 0,
        "report_to": "none",
    }
    words = [f"--{name}={value}" for name, value in flags.items()]
    command = [sys.executable, "-m", "training.train", *words, "--gradient_checkpointing"]
    hidden = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    found = subprocess.run(command, env=hidden, stderr=subprocess.PIPE, text=True, check=False)
    if found.returncode:
        raise SystemExit(f"The run failed: {found.stderr[-2000:]}")


def main() -> None:
    """Print the peak memory of the run."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = read_settings(FullSizeSettings)
    base, pictures = settings.output_dir / "base", settings.output_dir / str(settings.resolution)
    if not (base / "model_index.json").is_file():
        write_base(base)
    write_pictures(pictures, settings.resolution)
    started = time.perf_counter()
    train(settings, base, pictures)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2
    log.info(
        "%d steps of --control %s on a base of SD1.5's size at %d px: peak RSS %.2f GiB (aim: "
        "%.0f GiB for an adapter), %.0f s from start to end",
        *(settings.max_train_steps, settings.control, settings.resolution),
        *(peak, _AIM_GIB, time.perf_counter() - started),
    )


if __name__ == "__main__":
    main()
