"""The demo's scenes as a folder that `training.train` reads: pictures, captions, object masks.

python -m lab.world.dataset --count 8000
"""

import json
import logging
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from pydantic import Field
from tqdm.contrib.concurrent import process_map

from testbed.comfyui import BUILD
from training.config.commands import CommandSettings, read_settings

from ..origin import claim
from .data import DEFAULT_FOLDER, fetch_pictures
from .scenes import SceneSet
from .vocabulary import Split

log = logging.getLogger(__name__)

# Apart from the scenes that the base was trained on.
FIRST_SCENE = 20_000_000
_CHUNK = 200


class ScenesSettings(CommandSettings):
    """Settings of the data set; every one is a command-line flag."""

    data_dir: Path = Field(DEFAULT_FOLDER, description="where the pictures of objects are")
    output_dir: Path = Field(BUILD / "scenes", description="folder of the data set")
    split: Split = Field("train", description="whose objects are used")
    count: int = Field(8_000, description="how many scenes")
    seed: int = Field(0, description="of what is in the scenes")


def write_chunk(settings: ScenesSettings, start: int) -> list[dict[str, object]]:
    """Return the rows of metadata.jsonl of the scenes from `start`, which are written."""
    scenes = SceneSet(settings.data_dir, settings.split, settings.seed)
    rows = []
    for index in range(start, min(start + _CHUNK, settings.count)):
        scene = scenes.scene(FIRST_SCENE + index)
        folder, name = settings.output_dir / f"{start:06d}", f"{index:06d}"
        folder.mkdir(parents=True, exist_ok=True)
        masks = [f"{folder.name}/{name}.mask{i}.png" for i in range(len(scene.masks))]
        for file, mask in zip(masks, scene.masks, strict=True):
            cv2.imwrite(str(settings.output_dir / file), np.round(mask * 255).astype(np.uint8))
        image = cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / f"{name}.png"), image)
        row = {"file_name": f"{folder.name}/{name}.png", "text": scene.caption, "masks": masks}
        rows.append(row)
    return rows


def write_dataset(settings: ScenesSettings) -> None:
    """Write all scenes; the pictures of their objects are fetched if they are not there.

    Raises:
        OriginError: the folder holds other scenes.
    """
    fetch_pictures(settings.data_dir)
    claim(settings)
    table = settings.output_dir / "metadata.jsonl"
    if table.exists():  # it is written last
        log.info("%s is complete", settings.output_dir)
        return
    starts = range(0, settings.count, _CHUNK)
    chunks = process_map(partial(write_chunk, settings), starts, desc="scenes", max_workers=2)
    table.write_text("".join(json.dumps(row) + "\n" for chunk in chunks for row in chunk))


def main() -> None:
    """Write the data set."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    write_dataset(read_settings(ScenesSettings))


if __name__ == "__main__":
    main()
