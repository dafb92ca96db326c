"""Train the demo's canny adapters on the demo base.

python -m demo.train_adapters --name local
python -m demo.train_adapters --name plain

plain: features never masked, noise loss only, as T2I-Adapters are trained today. local: masked
features and the Sobel z0 loss. Same steps, data and seeds.
"""

import logging
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from diffusers import DDPMScheduler

from local_control.adapter import AdapterConfig
from local_control.checkpoint import write_adapter
from local_control.conditions import canny
from training.attention import Fp32Attention
from training.masks import random_mask
from training.settings import CommandSettings
from training.train import Base, Examples, TrainConfig, to_file, train

from .base import CHANNELS, CHECKPOINT, SCHEDULE, load_base
from .data import DEFAULT_FOLDER
from .latents import encode, to_tensor, tokenize
from .scenes import SceneSet

SHAPE = AdapterConfig(kind="full", in_channels=1, channels=CHANNELS, blocks=2)
# Apart from the scenes that the base was trained on.
FIRST_SCENE = 20_000_000


class Config(CommandSettings):
    """Settings of a run; every one is a command-line flag."""

    name: Literal["plain", "local"]
    data_dir: Path = DEFAULT_FOLDER
    checkpoint: Path = CHECKPOINT
    output_dir: Path = Path("build/adapters")
    max_train_steps: int = 3000
    train_batch_size: int = 32
    learning_rate: float = 5e-4
    z0_loss_weight: float = 4.0
    prompt_dropout: float = 0.2
    seed: int = 0


class SceneSource:
    """Fresh scenes for every step, with canny edges and a random mask each."""

    def __init__(self, data_dir: Path, checkpoint: Path, prompt_dropout: float, seed: int) -> None:
        self.base = load_base(checkpoint)
        self.scenes = SceneSet(data_dir, "train", seed)
        self.prompt_dropout = prompt_dropout
        self.seed = seed

    @torch.no_grad()
    def batch(self, step: int, size: int) -> Examples:
        """Every draw depends on (seed, step, sample)."""
        first = FIRST_SCENE + step * size
        scenes = [self.scenes.scene(first + i) for i in range(size)]
        rngs = [np.random.default_rng((self.seed, 3, first + i)) for i in range(size)]
        captions = [
            "" if rng.random() < self.prompt_dropout else scene.caption
            for rng, scene in zip(rngs, scenes, strict=True)
        ]
        masks = [
            random_mask(scene.image.shape[:2], rng, scene.masks)
            for rng, scene in zip(rngs, scenes, strict=True)
        ]
        images = [scene.image for scene in scenes]
        return Examples(
            z0=encode(self.base.autoencoder, images) * self.base.latent_scale,
            context=self.base.text(tokenize(captions)).last_hidden_state,
            condition=canny(to_tensor(images).add(1).div(2)),
            mask=torch.from_numpy(np.stack(masks))[:, None],
        )


def main() -> None:
    """Train one adapter and write it."""
    logging.basicConfig(level=logging.INFO)
    settings = Config()
    local = settings.name == "local"
    config = TrainConfig(
        output_dir=settings.output_dir / settings.name,
        max_train_steps=settings.max_train_steps,
        train_batch_size=settings.train_batch_size,
        learning_rate=settings.learning_rate,
        mask_features=local,
        z0_loss_weight=settings.z0_loss_weight if local else 0.0,
        mixed_precision="bf16",
        seed=settings.seed,
    )
    source = SceneSource(
        settings.data_dir, settings.checkpoint, settings.prompt_dropout, settings.seed
    )
    unet = source.base.unet
    unet.set_attn_processor(Fp32Attention())
    base = Base(unet, DDPMScheduler(**SCHEDULE).alphas_cumprod)
    adapter = train(base, source, SHAPE, config)
    file = to_file(adapter, config, base="Local Control demo", condition="canny 100 200")
    write_adapter(file, settings.output_dir / f"{settings.name}_canny_demo.safetensors")


if __name__ == "__main__":
    main()
