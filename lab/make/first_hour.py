"""The pictures of training/README.md: overlay, sheet and curves of a first run on the small base.

python -m lab.make.first_hour

Makes a first data set, trains the preset `demo` on it, and writes what there is to look at.
"""

import logging
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image
from pydantic import Field
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from testbed.comfyui import BUILD
from testbed.pack import ROOT
from training.config.commands import CommandSettings, read_settings

from ..world.data import DEFAULT_FOLDER
from ..world.dataset import ScenesSettings, write_dataset
from .export_base import BaseExportSettings, export_base

log = logging.getLogger(__name__)

Curve = Sequence[tuple[int, float]]  # step and value
# What is drawn of what trackers are told, and how the panels are called.
CURVES = {
    "validation/loss": "held-out loss",
    "validation/adherence": "adherence inside",
    "validation/leak": "leak",
    "train/gradient_norm": "norm of the gradient",
}
_COLUMNS, _ROWS = 4, 2


class FirstHourSettings(CommandSettings):
    """Settings of the pictures; every one is a command-line flag."""

    data_dir: Path = Field(DEFAULT_FOLDER, description="where the pictures of objects are")
    pictures: int = Field(1_000, description="how many the first data set has")
    max_train_steps: int = Field(300, description="how long is trained")
    run_dir: Path = Field(BUILD / "first-hour", description="data set and run")
    output_dir: Path = Field(
        ROOT / "docs" / "training", description="where the pictures are written"
    )


def train(settings: FirstHourSettings) -> Path:
    """Return the folder of a run: a data set is made, and trained on as the README says."""
    scenes = settings.run_dir / "pictures"
    write_dataset(
        ScenesSettings(data_dir=settings.data_dir, output_dir=scenes, count=settings.pictures)
    )
    base = export_base(BaseExportSettings())
    run = settings.run_dir / "my-adapter"
    flags = {
        "config": "demo",
        "pretrained_model_name_or_path": base,
        "train_data_dir": scenes,
        "mask_column": "masks",
        "output_dir": run,
        "max_train_steps": settings.max_train_steps,
        "validation_steps": settings.max_train_steps // 6,
        "resume_from_checkpoint": "latest",
    }
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "training.train", *words]
    if status := subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise SystemExit(status)  # it has said why
    return run


def read_curves(run: Path) -> dict[str, Curve]:
    """Return what the run's tracker was told, by name."""
    events = EventAccumulator(str(run / "logs" / "local_control")).Reload()
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in CURVES}


def draw_curves(curves: Mapping[str, Curve], path: Path) -> None:
    """Write a panel for each curve."""
    figure = Figure(figsize=(2.5 * len(CURVES), 2.3), layout="constrained")
    for panel, (name, title) in zip(figure.subplots(1, len(CURVES)), CURVES.items(), strict=True):
        panel.plot(*zip(*curves[name], strict=True))
        panel.set_title(title, fontsize="medium")
        panel.set_xlabel("step")
        panel.grid(alpha=0.3)
    figure.savefig(path, dpi=80)


def draw(run: Path, folder: Path) -> None:
    """Write `overlay.jpg`, `before.jpg`, `sheet.jpg` and `curves.png` of a run."""
    folder.mkdir(parents=True, exist_ok=True)
    overlay = Image.open(run / "overlay.png")
    side = overlay.width // 8
    overlay.crop((0, 0, _COLUMNS * side, _ROWS * side)).save(folder / "overlay.jpg", quality=85)
    first, *_, last = sorted((run / "samples").glob("step-*.png"))
    for name, sheet in (("before", first), ("sheet", last)):
        Image.open(sheet).save(folder / f"{name}.jpg", quality=85)
    draw_curves(read_curves(run), folder / "curves.png")


def main() -> None:
    """Train, and write the pictures."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = read_settings(FirstHourSettings)
    draw(train(settings), settings.output_dir)
    log.info("wrote %s", settings.output_dir)


if __name__ == "__main__":
    main()
