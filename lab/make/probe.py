"""A small classifier of the demo's objects, trained on real pictures, to judge generated ones.

python -m lab.make.probe
"""

import logging
from pathlib import Path

import torch
import torch.nn.functional as F
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.models import shufflenet_v2_x0_5
from torchvision.transforms.v2 import GaussianBlur, RandomApply
from tqdm import tqdm

from demo.base import WEIGHTS
from training.config.commands import CommandSettings, read_settings
from training.loop.state import TrainState

from ..origin import claim
from ..world.data import DEFAULT_FOLDER, fetch_pictures
from ..world.scenes import SceneSet
from .latents import to_tensor

log = logging.getLogger(__name__)

PROBE = WEIGHTS / "probe.safetensors"
# Apart from all other scenes.
_FIRST_TRAIN = 30_000_000
_FIRST_TEST = 40_000_000


class ProbeSettings(CommandSettings):
    """Settings of the probe's training; every one is a command-line flag."""

    data_dir: Path = Field(DEFAULT_FOLDER, description="where the pictures of objects are")
    output_dir: Path = Field(Path("build/probe"), description="where everything is written")
    max_train_steps: int = Field(2500, description="steps in all")
    train_batch_size: int = Field(64, description="pictures a step")
    learning_rate: float = Field(2e-3, description="at its highest")
    checkpointing_steps: int = Field(500, description="steps between checkpoints")
    seed: int = Field(0, description="of weights and pictures")


def new_probe(classes: int) -> nn.Module:
    """Return an untrained ShuffleNet: [B,3,128,128] in -1..1 -> [B,classes]."""
    return shufflenet_v2_x0_5(weights=None, num_classes=classes)


def load_probe(classes: int) -> nn.Module:
    """Return the committed probe."""
    probe = new_probe(classes)
    state = {key: value.float() for key, value in load_file(PROBE).items()}
    probe.load_state_dict(state, strict=False)  # batch counters are not kept
    return probe.eval()


def labelled(scenes: SceneSet, first: int, count: int) -> tuple[Tensor, Tensor]:
    """Return pictures of one object each and their classes."""
    index = {item: i for i, item in enumerate(scenes.items)}
    chosen = [scenes.scene(first + i, count=1) for i in range(count)]
    labels = torch.tensor([index[scene.items[0]] for scene in chosen])
    return to_tensor([scene.image for scene in chosen]).contiguous(), labels


@torch.no_grad()
def accuracy(probe: nn.Module, images: Tensor, labels: Tensor, top: int = 1) -> float:
    """Return the share of pictures whose class is among the `top` best."""
    best = torch.cat([probe(part).topk(top).indices for part in images.split(128)])
    return (best == labels[:, None]).any(1).float().mean().item()


def main() -> None:
    """Train, or resume, and write fp16 weights."""
    logging.basicConfig(level=logging.INFO)
    settings = read_settings(ProbeSettings)
    fetch_pictures(settings.data_dir)
    claim(settings)
    torch.manual_seed(settings.seed)
    scenes = SceneSet(settings.data_dir, "train", settings.seed)
    probe = new_probe(len(scenes.items))
    optimizer = torch.optim.AdamW(probe.parameters(), lr=0.0, weight_decay=0.05)
    state = TrainState({"probe": probe}, optimizer)
    state.load_latest(settings.output_dir)
    # The autoencoder softens what it draws; the probe must not mind.
    soften = RandomApply([GaussianBlur(5, (0.3, 1.5))], p=0.5)
    for step in tqdm(range(state.step, settings.max_train_steps), initial=state.step):
        torch.manual_seed(settings.seed * 1_000_003 + step)
        warm = min(1.0, (step + 1) / 100)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * warm * (1 - step / settings.max_train_steps)
        size = settings.train_batch_size
        images, labels = labelled(scenes, _FIRST_TRAIN + step * size, size)
        F.cross_entropy(probe(soften(images)), labels, label_smoothing=0.05).backward()
        optimizer.step()
        optimizer.zero_grad()
        state.step = step + 1
        if state.step % settings.checkpointing_steps == 0:
            state.save(settings.output_dir)
    probe.eval()
    images, labels = labelled(scenes, _FIRST_TEST, 1024)
    log.info("accuracy on real pictures: %.3f", accuracy(probe, images, labels))
    tensors = {k: v.half() for k, v in probe.state_dict().items() if v.is_floating_point()}
    save_file(tensors, settings.output_dir / PROBE.name)


if __name__ == "__main__":
    main()
