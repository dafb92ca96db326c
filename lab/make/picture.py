"""The demo's input pictures: two held-out objects, and the mask of one of them.

python -m lab.make.picture
"""

from pathlib import Path

import numpy as np
from PIL import Image

from demo.example_files import COLOURS_PICTURE, EDGES_PICTURE, mask_of
from training.data.random_masks import object_box

from ..world.data import DEFAULT_FOLDER, fetch_pictures
from ..world.scenes import Scene, SceneSet


def find_scene(scenes: SceneSet, left: str, right: str, backdrop: str) -> Scene:
    """Return the first scene of these two objects on this backdrop."""
    subject = next(i for i, item in enumerate(scenes.items) if item.name == left)
    candidates = (scenes.scene(index, 2, subject) for index in range(10**6))
    return next(
        scene
        for scene in candidates
        if [item.name for item in scene.items] == [left, right] and scene.backdrop == backdrop
    )


def save(scene: Scene, masked: int, path: Path) -> None:
    """Write a scene, and beside it the mask: a box around one of its objects."""
    mask = object_box(
        scene.image.shape[:2], np.random.default_rng(0), scene.masks[masked : masked + 1]
    )
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(scene.image).save(path)
    Image.fromarray((mask * 255).astype(np.uint8)).save(mask_of(path))


def main() -> None:
    """Write both pictures."""
    fetch_pictures(DEFAULT_FOLDER)
    scenes = SceneSet(DEFAULT_FOLDER, "test")
    save(find_scene(scenes, "pear", "police car", "on a gray background"), 0, EDGES_PICTURE)
    colourful = find_scene(scenes, "volleyball", "bell pepper", "on a purple background")
    save(colourful, 1, COLOURS_PICTURE)


if __name__ == "__main__":
    main()
