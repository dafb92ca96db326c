"""The base's training set as cached latents and caption tokens, in resumable shards.

python -m lab.make.latents --count 100000
"""

import logging
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from demo.base import MAX_TOKENS, load_tokenizer
from training.config.commands import CommandSettings, read_settings
from training.config.processes import fast_bf16

from ..origin import claim
from ..world.data import DEFAULT_FOLDER, fetch_pictures
from ..world.scenes import SceneSet

SHARD = 1000


class LatentsSettings(CommandSettings):
    """Settings of the cache; every one is a command-line flag."""

    data_dir: Path = Field(DEFAULT_FOLDER, description="where the pictures of objects are")
    autoencoder: Path = Field(
        Path("build/autoencoder/diffusers"), description="diffusers folder of the autoencoder"
    )
    output_dir: Path = Field(Path("build/latents"), description="where shards are written")
    count: int = Field(100_000, description="how many scenes")
    seed: int = Field(0, description="of what is in the scenes")


def to_tensor(images: list[np.ndarray]) -> Tensor:
    """Return uint8 pictures [H,W,3] as [B,3,H,W] in -1..1, channels last in memory."""
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return pixels.float().div(127.5).sub(1).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def encode(autoencoder: AutoencoderTiny, images: list[np.ndarray], fast: bool = True) -> Tensor:
    """Return unscaled latents [B,8,H/8,W/8], fp32; `fast` computes in bf16 where the CPU can."""
    with torch.autocast("cpu", torch.bfloat16, enabled=fast and fast_bf16()):
        return autoencoder.encoder(to_tensor(images)).float()


def tokenize(captions: list[str]) -> Tensor:
    """Return stock CLIP token ids [B,77], padded with the end token as ComfyUI pads."""
    return load_tokenizer()(
        captions, padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt"
    ).input_ids


def write_shard(scenes: SceneSet, autoencoder: AutoencoderTiny, start: int, path: Path) -> None:
    """Encode scenes `start`..`start`+SHARD into one file."""
    latents, captions = [], []
    for first in range(start, start + SHARD, 50):
        batch = [scenes.scene(first + i) for i in range(50)]
        latents.append(encode(autoencoder, [scene.image for scene in batch]))
        captions += [scene.caption for scene in batch]
    partial = path.with_suffix(".partial")
    tensors = {
        "latents": torch.cat(latents).half().contiguous(),
        "tokens": tokenize(captions).int(),
    }
    save_file(tensors, partial)
    partial.replace(path)


def load_shards(folder: Path) -> tuple[Tensor, Tensor]:
    """Return all cached latents fp16 [N,8,16,16] and stock token ids int32 [N,77]."""
    shards = [load_file(path) for path in sorted(folder.glob("shard-*.safetensors"))]
    if not shards:
        raise FileNotFoundError(
            f"{folder} holds no latents; run `python -m lab.make.latents` first"
        )
    return (
        torch.cat([shard["latents"] for shard in shards]),
        torch.cat([shard["tokens"] for shard in shards]),
    )


def main() -> None:
    """Write the shards that are missing."""
    logging.basicConfig(level=logging.INFO)
    settings = read_settings(LatentsSettings)
    fetch_pictures(settings.data_dir)
    claim(settings, "count")
    autoencoder = AutoencoderTiny.from_pretrained(settings.autoencoder)
    autoencoder = autoencoder.to(memory_format=torch.channels_last).eval()
    scenes = SceneSet(settings.data_dir, "train", settings.seed)
    for shard in tqdm(range(settings.count // SHARD)):
        path = settings.output_dir / f"shard-{shard:05d}.safetensors"
        if not path.exists():
            write_shard(scenes, autoencoder, shard * SHARD, path)


if __name__ == "__main__":
    main()
