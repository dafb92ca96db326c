"""Train the demo autoencoder (the TAESD architecture) on scene crops.

python -m lab.make.train_autoencoder --latent_channels 4 --output_dir build/autoencoder4
python -m lab.make.train_autoencoder --learning_rate 4e-4 --widen build/autoencoder4/diffusers

Two stages: with eight latent channels from the start the training diverged at this rate (loss 0.2
at step 1,200, 0.4 at 1,500), while four are stable and a trained four widens without a jump.
"""

import logging
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from kornia.filters import spatial_gradient
from pydantic import Field
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from demo.base import LATENT_SHAPE
from training.config.commands import CommandSettings, read_settings
from training.config.processes import fast_bf16
from training.loop.state import TrainState

from ..origin import claim
from ..world.data import DEFAULT_FOLDER, fetch_pictures
from ..world.scenes import SIZE, SceneSet

log = logging.getLogger(__name__)


class AutoencoderSettings(CommandSettings):
    """Settings of the autoencoder's training; every one is a command-line flag."""

    data_dir: Path = Field(DEFAULT_FOLDER, description="where the pictures of objects are")
    output_dir: Path = Field(Path("build/autoencoder"), description="where everything is written")
    latent_channels: int = Field(LATENT_SHAPE[0], description="channels of a latent")
    widen: Path | None = Field(
        None, description="diffusers folder of one with fewer channels, that is begun with"
    )
    crop: int = Field(64, description="px, side of the crops")
    train_batch_size: int = Field(16, description="crops a step")
    max_train_steps: int = Field(7000, description="steps in all")
    learning_rate: float = Field(7e-4, description="at its highest")
    lr_warmup_steps: int = Field(200, description="steps in which it rises")
    latent_noise: float = Field(
        0.1, description="spread of the noise on latents before they are decoded"
    )
    edge_weight: float = Field(0.5, description="of the loss of gradients beside that of pixels")
    mixed_precision: bool = Field(
        default_factory=fast_bf16, description="compute in bf16 (default: where the CPU has it)"
    )
    checkpointing_steps: int = Field(500, description="steps between checkpoints")
    seed: int = Field(0, description="of weights and crops")


@torch.no_grad()
def widen(trained: AutoencoderTiny, wide: AutoencoderTiny) -> None:
    """Copy `trained` into a model with more latent channels; what is new keeps its small init."""
    old, new = trained.state_dict(), wide.state_dict()
    for key, value in new.items():
        value[tuple(slice(n) for n in old[key].shape)] = old[key]


def crop_batch(scenes: SceneSet, step: int, batch_size: int, size: int, seed: int) -> Tensor:
    """Return random crops of fresh scenes, four a scene: [B,3,size,size] in -1..1."""
    rng = np.random.default_rng((seed, step))
    crops = []
    for i in range(batch_size):
        if i % 4 == 0:
            image = scenes.scene(step * batch_size + i).image
        top, left = rng.integers(0, SIZE - size + 1, 2)
        crops.append(image[top : top + size, left : left + size])
    pixels = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)
    return pixels.float().div(127.5).sub(1).contiguous(memory_format=torch.channels_last)


def reconstruction_loss(decoded: Tensor, image: Tensor, edge_weight: float) -> Tensor:
    """Return the L1 of pixels plus the L1 of their Sobel gradients."""
    edges = (spatial_gradient(decoded) - spatial_gradient(image)).abs().mean()
    return (decoded - image).abs().mean() + edge_weight * edges


def learning_rate(step: int, settings: AutoencoderSettings) -> float:
    """Return the rate of a step: linear warm-up, then cosine to zero."""
    warm = min(1.0, (step + 1) / settings.lr_warmup_steps)
    return (
        settings.learning_rate * warm * 0.5 * (1 + np.cos(np.pi * step / settings.max_train_steps))
    )


def train_step(
    model: AutoencoderTiny, image: Tensor, step: int, settings: AutoencoderSettings
) -> Tensor:
    """Return the loss of one step.

    Latents are noised, and on every eighth step halved in size together with the image, which makes
    them smooth and keeps their edges where the image has its own.
    """
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
    with torch.autocast("cpu", torch.bfloat16, enabled=settings.mixed_precision):
        latent = model.encoder(image)
        noise = torch.randn(latent.shape, generator=generator)
        latent = latent + settings.latent_noise * noise
        if step % 8 == 7:
            latent = F.avg_pool2d(latent, 2)
            image = F.interpolate(image, scale_factor=0.5, mode="area")
        decoded = model.decoder(latent)
    return reconstruction_loss(decoded.float(), image, settings.edge_weight)


@torch.no_grad()
def psnr(model: AutoencoderTiny, scenes: SceneSet, count: int = 128) -> float:
    """Return the mean PSNR in dB over `count` scenes at full size, in fp32."""
    values = []
    for start in range(0, count, 16):
        pixels = np.stack([scenes.scene(start + i).image for i in range(16)])
        image = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(127.5).sub(1)
        decoded = model.decoder(model.encoder(image)).clamp(-1, 1)
        error = (decoded - image).div(2).square().mean((1, 2, 3))
        values.append(-10 * error.log10())
    return torch.cat(values).mean().item()


def main() -> None:
    """Train, or resume, to `max_train_steps`."""
    settings = read_settings(AutoencoderSettings)
    fetch_pictures(settings.data_dir)
    claim(settings)
    logging.basicConfig(level=logging.INFO)
    torch.manual_seed(settings.seed)
    model = AutoencoderTiny(latent_channels=settings.latent_channels)
    if settings.widen is not None:
        widen(AutoencoderTiny.from_pretrained(settings.widen), model)
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.0, fused=True)
    state = TrainState({"autoencoder": model}, optimizer)
    if state.load_latest(settings.output_dir):
        log.info("resumed at step %d", state.step)
    scenes = SceneSet(settings.data_dir, "train", settings.seed)
    held_out = SceneSet(settings.data_dir, "validation", settings.seed)
    writer = SummaryWriter(settings.output_dir / "logs")
    bar = tqdm(
        range(state.step, settings.max_train_steps),
        initial=state.step,
        total=settings.max_train_steps,
        mininterval=10,
    )
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, settings)
        image = crop_batch(scenes, step, settings.train_batch_size, settings.crop, settings.seed)
        loss = train_step(model, image, step, settings)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        state.step = step + 1
        if state.step % 50 == 0:
            writer.add_scalar("loss", loss.item(), state.step)
        if state.step % settings.checkpointing_steps == 0 or state.step == settings.max_train_steps:
            state.save(settings.output_dir)
            quality = psnr(model, held_out)
            writer.add_scalar("psnr", quality, state.step)
            bar.write(f"step {state.step}: loss {loss.item():.4f}, held-out PSNR {quality:.2f} dB")
    model.save_pretrained(settings.output_dir / "diffusers")


if __name__ == "__main__":
    main()
