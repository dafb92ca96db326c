"""Before the first step: a sheet of what the model will see, and how much the masks cover."""

import json
import logging

import numpy as np
import torch
from PIL import Image

from ..cached.prepare import Cache, Part
from ..config.processes import process_state
from ..config.run import TrainSettings
from ..evaluation.measures import sheet, tinted
from .examples import Examples

log = logging.getLogger(__name__)

_COLUMNS, _ROWS, _COUNTED = 8, 4, 256


def write_preview(part: Part, cache: Cache, settings: TrainSettings) -> None:
    """Write `overlay.png` and `masks.json` into the output folder, and log the coverage."""
    if not process_state().is_main_process:
        return
    examples = Examples(part, cache, settings)
    drawn = [examples[position, position % len(examples)] for position in range(_COUNTED)]
    coverage = np.array([example["mask"].mean().item() for example in drawn])
    found = {
        "mean": round(float(coverage.mean()), 4),
        "empty": round(float((coverage == 0).mean()), 4),
        "full": round(float((coverage == 1).mean()), 4),
        "deciles": np.quantile(coverage, np.linspace(0, 1, 11)).round(4).tolist(),
    }
    log.info(
        "masks cover %.0f %% on average; %.0f %% are empty, %.0f %% full",
        *(100 * found[key] for key in ("mean", "empty", "full")),
    )
    settings.output_dir.mkdir(parents=True, exist_ok=True)
    (settings.output_dir / "masks.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    tiles = _overlay(part, cache, examples, drawn)
    Image.fromarray(tiles).save(settings.output_dir / "overlay.png")


def _overlay(
    part: Part, cache: Cache, examples: Examples, drawn: list[dict[str, torch.Tensor]]
) -> np.ndarray:
    """Pictures darkened outside their masks, with their conditions in green."""
    size = drawn[0]["mask"].shape
    tiles = []
    for position, example in enumerate(drawn):
        if example["mask"].shape == size and len(tiles) < _COLUMNS * _ROWS:
            image = cache.picture(part, position % len(examples), examples.variant(position))
            tiles.append(tinted(image, example["condition"], example["mask"]))
    rows = [tiles[i : i + _COLUMNS] for i in range(0, len(tiles), _COLUMNS)]
    blank = torch.zeros_like(tiles[0])
    rows[-1] += [blank] * (len(rows[0]) - len(rows[-1]))
    return sheet(rows)
