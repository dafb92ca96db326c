"""Train the demo's adapters on the demo base, with the project's own trainer.

python -m lab.make.train_adapters --name local
python -m lab.make.train_adapters --name plain
python -m lab.make.train_adapters --name colour

plain: canny, features never masked, noise loss only, as T2I-Adapters are trained today but for
min-SNR 1. local: canny, masked features and the Sobel z0 loss. Same steps, data and seeds. colour:
as plain, which colours follow best. A stopped run goes on where it was.
"""

import logging
import shutil
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from demo.base import ADAPTERS, CHECKPOINT, CONDITIONS
from testbed.comfyui import BUILD
from training.config.commands import CommandSettings, read_settings
from training.config.run import TrainSettings
from training.loop.prepare import open_base, open_source
from training.train import train

from ..world.dataset import ScenesSettings, write_dataset
from .export_base import BaseExportSettings, export_base

_PLAIN = {"mask_features": False, "z0_loss_weight": 0.0}
_VARIANTS: dict[str, dict[str, Any]] = {
    "plain": _PLAIN,
    "local": {},
    "colour": _PLAIN,
}


class DemoAdapterSettings(CommandSettings):
    """Settings of a run; every one is a command-line flag."""

    name: Literal["plain", "local", "colour"] = Field(description="which of the adapters")
    checkpoint: Path = Field(CHECKPOINT, description="the base as ComfyUI reads it")
    output_dir: Path = Field(BUILD / "adapters", description="where runs are written")
    max_train_steps: int = Field(4000, description="steps in all")
    seed: int = Field(0, description="of weights, order and noise")
    mixed_precision: Literal["no", "bf16"] = Field("no", description="of the predictions")


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
    settings = read_settings(DemoAdapterSettings)
    write_dataset(ScenesSettings())
    train_settings = demo_settings(
        settings.checkpoint,
        settings.output_dir / settings.name,
        max_train_steps=settings.max_train_steps,
        seed=settings.seed,
        mixed_precision=settings.mixed_precision,
        condition=CONDITIONS[settings.name],
        **_VARIANTS[settings.name],
    )
    file = train(train_settings, open_base(train_settings), open_source(train_settings))
    shutil.copy(file, settings.output_dir / ADAPTERS[settings.name].name)


if __name__ == "__main__":
    main()
