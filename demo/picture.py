"""The demo's input picture: two held-out objects, the mask of the right one in its alpha channel.

python -m demo.picture

Transparent = white in the mask, as ComfyUI's mask editor saves it.
"""

import numpy as np
from PIL import Image

from training.masks import object_box

from .__main__ import PICTURE
from .data import DEFAULT_FOLDER
from .scenes import SceneSet

_LEFT, _RIGHT = "pear", "police car"
_BACKDROP = "on a gray background"


def main() -> None:
    """Take the first test scene of these two objects on a plain background."""
    scenes = SceneSet(DEFAULT_FOLDER, "test")
    subject = next(i for i, item in enumerate(scenes.items) if item.name == _LEFT)
    wanted = (_LEFT, _RIGHT)
    candidates = (scenes.scene(index, 2, subject) for index in range(10**6))
    scene = next(
        scene
        for scene in candidates
        if tuple(item.name for item in scene.items) == wanted and scene.backdrop == _BACKDROP
    )
    mask = object_box(scene.image.shape[:2], np.random.default_rng(0), scene.masks[1:])
    alpha = ((1 - mask) * 255).astype(np.uint8)
    PICTURE.parent.mkdir(exist_ok=True)
    Image.fromarray(np.dstack([scene.image, alpha]), "RGBA").save(PICTURE)


if __name__ == "__main__":
    main()
