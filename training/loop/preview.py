"""Before the first step: a sheet of what the model will see, and how much the masks cover."""

import json
import logging
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..evaluation.sheets import sheet, tinted
from .examples import Examples

log = logging.getLogger(__name__)

_COLUMNS, _ROWS, _COUNTED = 8, 4, 256


def write_preview(examples: Examples, folder: Path) -> None:
    """Write `overlay.png` and `masks.json` into a folder, and log what the masks cover."""
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
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "masks.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    Image.fromarray(_overlay(examples, drawn)).save(folder / "overlay.png")


def _overlay(examples: Examples, drawn: list[dict[str, Tensor]]) -> np.ndarray:
    """Pictures darkened outside their masks, with their conditions in green."""
    size = drawn[0]["mask"].shape
    tiles = []
    for position, example in enumerate(drawn):
        if example["mask"].shape == size and len(tiles) < _COLUMNS * _ROWS:
            image = examples.picture((position, position % len(examples)))
            tiles.append(tinted(image, example["condition"], example["mask"]))
    rows = [tiles[i : i + _COLUMNS] for i in range(0, len(tiles), _COLUMNS)]
    blank = torch.zeros_like(tiles[0])
    rows[-1] += [blank] * (len(rows[0]) - len(rows[-1]))
    return sheet(rows)
