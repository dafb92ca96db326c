"""Train the demo's adapters on the demo base, with the project's own trainer.

python -m lab.make.train_adapters --name local
python -m lab.make.train_adapters --name plain
python -m lab.make.train_adapters --name colour

plain: canny, features never masked, noise loss only, as T2I-Adapters are trained today. local:
canny, masked features and the Sobel z0 loss. Same steps, data and seeds. colour: as local, for
blocks of colour. A stopped run goes on where it was.
"""

import logging
import shutil
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from demo.base import ADAPTERS, CHECKPOINT
from testbed.comfyui import BUILD
from training.config.commands import CommandSettings, read_settings
from training.config.run import TrainSettings
from training.loop.prepare import open_base, open_source
from training.train import train

from ..world.dataset import ScenesSettings, write_dataset
from .export_base import BaseExportSettings, export_base

_VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"mask_features": False, "z0_loss_weight": 0.0},
    "local": {},
    "colour": {"condition": "colour"},
}


class DemoAdapterSettings(CommandSettings):
    """Settings of a run; every one is a command-line flag."""

    name: Literal["plain", "local", "colour"] = Field(description="which of the adapters")
    checkpoint: Path = Field(CHECKPOINT, description="the base as ComfyUI reads it")
    output_dir: Path = Field(BUILD / "adapters", description="where runs are written")
    max_train_steps: int = Field(4000, description="steps in all")
    seed: int = Field(0, description="of weights, order and noise")


def demo_settings(checkpoint: Path, output_dir: Path, **changes: Any) -> TrainSettings:
    """Return the preset `demo` on the demo's base and scenes, with some settings changed."""
    return TrainSettings(
        config="demo",
        pretrained_model_name_or_path=str(export_base(BaseExportSettings(checkpoint=checkpoint))),
        train_data_dir=ScenesSettings().output_dir,
        cache_dir=BUILD / "cache",
        output_dir=output_dir,
        resume_from_checkpoint="latest",
        mask_column="masks",
        **changes,
    )


def main() -> None:
    """Train one adapter and put it beside the others."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = read_settings(DemoAdapterSettings)
    write_dataset(ScenesSettings())
    settings = demo_settings(
        config.checkpoint,
        config.output_dir / config.name,
        max_train_steps=config.max_train_steps,
        seed=config.seed,
        **_VARIANTS[config.name],
    )
    file = train(settings, open_base(settings), open_source(settings))
    shutil.copy(file, config.output_dir / ADAPTERS[config.name].name)


if __name__ == "__main__":
    main()
