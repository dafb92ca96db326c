"""How good the demo base is, on pictures that it was not trained on.

python -m lab.study.evaluate_base
"""

import json
import logging
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from PIL import Image, ImageDraw
from pydantic import Field
from torch import Tensor
from tqdm import tqdm

from demo.base import CHECKPOINT, IMAGE_SIZE, SCHEDULE, Base, load_base, load_pipeline
from training.config.commands import CommandSettings, read_settings
from training.models.denoise import predict

from ..make.latents import encode, to_tensor, tokenize
from ..make.probe import accuracy, labelled, load_probe
from ..make.train_base import FIRST_HELD_OUT, add_noise, draw, stratified_timesteps
from ..world.data import DEFAULT_FOLDER
from ..world.scenes import Scene, SceneSet
from ..world.vocabulary import with_article

log = logging.getLogger(__name__)


class BaseReportSettings(CommandSettings):
    """Settings of the report; every one is a command-line flag."""

    checkpoint: Path = Field(CHECKPOINT, description="the base as ComfyUI reads it")
    data_dir: Path = Field(DEFAULT_FOLDER, description="where the pictures of objects are")
    output_dir: Path = Field(Path("build/base_report"), description="where the report is written")
    seeds: int = Field(3, description="how many for each prompt")
    steps: int = Field(30, description="in which pictures are sampled")
    guidance_scale: float = Field(4.0, description="classifier-free guidance")


def psnr(image: Tensor, other: Tensor) -> Tensor:
    """Return the PSNR of pictures in -1..1, [B] in dB."""
    return -10 * (image - other).div(2).square().mean((1, 2, 3)).log10()


@torch.no_grad()
def roundtrip(base: Base, scenes: list[Scene]) -> Tensor:
    """Return scenes through the autoencoder, [B,3,128,128] in -1..1."""
    latents = encode(base.autoencoder, [scene.image for scene in scenes], fast=False)
    return base.autoencoder.decoder(latents).clamp(-1, 1)


@torch.no_grad()
def noise_loss(base: Base, scenes: list[Scene], seed: int) -> float:
    """Return the mean squared error of the predicted noise, evenly over all timesteps."""
    z0 = encode(base.autoencoder, [s.image for s in scenes], fast=False) * base.latent_scale
    context = base.text(tokenize([scene.caption for scene in scenes])).last_hidden_state
    generator = draw(seed, 0)
    noise = torch.randn(z0.shape, generator=generator)
    timestep = stratified_timesteps(len(z0), generator)
    alphas = DDPMScheduler(**SCHEDULE).alphas_cumprod
    noisy = add_noise(z0, noise, alphas[timestep])
    errors = [
        (predict(base.unet, noisy[i], timestep[i], context[i]) - noise[i]).square().mean((1, 2, 3))
        for i in torch.arange(len(z0)).split(64)
    ]
    return torch.cat(errors).mean().item()


def generate(
    pipeline: StableDiffusionPipeline, prompts: list[str], seed: int, settings: BaseReportSettings
) -> Tensor:
    """Return pictures [B,3,128,128] in -1..1."""
    pipeline.set_progress_bar_config(disable=True)
    parts = []
    for first in tqdm(range(0, len(prompts), 64), desc=f"seed {seed}"):
        part = prompts[first : first + 64]
        generators = [draw(seed, first + i) for i in range(len(part))]
        images = pipeline(
            part,
            height=IMAGE_SIZE,
            width=IMAGE_SIZE,
            num_inference_steps=settings.steps,
            guidance_scale=settings.guidance_scale,
            generator=generators,
            output_type="pt",
        ).images
        parts.append(images * 2 - 1)
    return torch.cat(parts)


def contact_sheet(images: Tensor, names: list[str], columns: int = 16) -> Image.Image:
    """Return one picture of several with their names."""
    cell = IMAGE_SIZE + 14
    rows = -(-len(names) // columns)
    sheet = Image.new("RGB", (columns * IMAGE_SIZE, rows * cell), "white")
    draw_on = ImageDraw.Draw(sheet)
    pixels = images.add(1).mul(127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    for i, name in enumerate(names):
        left, top = i % columns * IMAGE_SIZE, i // columns * cell
        sheet.paste(Image.fromarray(pixels[i]), (left, top))
        draw_on.text((left + 2, top + IMAGE_SIZE), name, "black")
    return sheet


def main() -> None:
    """Measure, print, and write report.json and a contact sheet for each seed."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = read_settings(BaseReportSettings)
    settings.output_dir.mkdir(parents=True, exist_ok=True)
    base = load_base(settings.checkpoint)
    report: dict[str, object] = {"seeds": settings.seeds, "guidance_scale": settings.guidance_scale}

    seen = SceneSet(settings.data_dir, "train")
    unseen = SceneSet(settings.data_dir, "test")
    for name, scenes in (("known objects", seen), ("held-out objects", unseen)):
        chosen = [scenes.scene(FIRST_HELD_OUT + i) for i in range(256)]
        images = to_tensor([scene.image for scene in chosen])
        report[f"autoencoder PSNR, {name}"] = psnr(roundtrip(base, chosen), images).mean().item()
        report[f"noise loss, {name}"] = noise_loss(base, chosen, seed=1)

    probe = load_probe(len(seen.items))
    real, labels = labelled(seen, FIRST_HELD_OUT, 512)
    report["probe on real pictures"] = accuracy(probe, real, labels)

    prompts = [f"{with_article(item.name)} on a gray background" for item in seen.items]
    wanted = torch.arange(len(prompts))
    pipeline = load_pipeline(settings.checkpoint)
    first, fifth = [], []
    for seed in range(settings.seeds):
        images = generate(pipeline, prompts, seed, settings)
        first.append(accuracy(probe, images, wanted))
        fifth.append(accuracy(probe, images, wanted, top=5))
        names = [item.name for item in seen.items]
        contact_sheet(images, names).save(settings.output_dir / f"sheet-{seed}.png")
    for name, values in (("top 1", first), ("top 5", fifth)):
        report[f"prompted object recognised, {name}"] = float(np.mean(values))
        report[f"its spread over seeds, {name}"] = float(np.std(values))
    for name, value in report.items():
        log.info("%-45s %.4g", name, value)
    (settings.output_dir / "report.json").write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
