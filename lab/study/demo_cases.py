"""The demo's evaluation: two held-out objects a scene, the first controlled through a box.

The condition is of the whole scene, the prompt names both objects by category, since neither base
nor adapters have seen them.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from demo.base import IMAGE_SIZE
from training.data.random_masks import object_box
from training.evaluation.cases import Case

from ..make.latents import to_tensor
from ..make.probe import load_probe
from ..world.scenes import Scene, SceneSet
from ..world.vocabulary import load_items

# Between the scenes of one object, more than there are objects in a split.
_APART = 10_000


def subject_scene(scenes: SceneSet, index: int, number: int = 0) -> Scene:
    """Return scene `number` of two objects, the first (left) being object `index` of the split."""
    return scenes.scene(_APART * number + index, 2, subject=index)


def subject_mask(scene: Scene, index: int) -> Tensor:
    """Return a box [1,H,W] around the first object, with some room."""
    rng = np.random.default_rng((1, index))
    return torch.from_numpy(object_box(scene.image.shape[:2], rng, scene.masks[:1]))[None]


def picture(scene: Scene) -> Tensor:
    """Return a scene [3,H,W] in 0..1."""
    return to_tensor([scene.image])[0].add(1).div(2)


def scene_cases(scenes: SceneSet, seeds: Sequence[int], number: int = 0) -> list[Case]:
    """Return every object of the split in its scene `number`, with every seed."""
    cases = []
    for index in range(len(scenes.items)):
        scene = subject_scene(scenes, index, number)
        image, mask = picture(scene), subject_mask(scene, index)
        cases += [
            Case(str(index), image, mask, "object box", scene.prompt(), seed) for seed in seeds
        ]
    return cases


class CategoryJudge:
    """Whether one half of a picture shows an object of the category that the prompt names there.

    The probe, trained on real pictures, looks at that half; its best class has a category. position
    0 is the left, controlled object, 1 the right, free one. number: of every object's scene.
    """

    def __init__(self, scenes: SceneSet, position: int = 1, number: int = 0) -> None:
        known = load_items("train")
        self._probe = load_probe(len(known))
        self._categories = [item.category for item in known]
        self._columns = slice(IMAGE_SIZE // 2 * position, IMAGE_SIZE // 2 * (position + 1))
        self._wanted = [
            subject_scene(scenes, index, number).items[position].category
            for index in range(len(scenes.items))
        ]

    @torch.no_grad()
    def __call__(self, images: Tensor, cases: Sequence[Case]) -> Tensor:
        """images [B,3,H,W] in 0..1 -> 1 or 0, [B]."""
        rows = slice(IMAGE_SIZE // 4, IMAGE_SIZE // 4 * 3)
        seen = F.interpolate(images[..., rows, self._columns], scale_factor=2, mode="bicubic")
        best = self._probe(2 * seen - 1).argmax(1)
        found = [
            self._categories[int(label)] == self._wanted[int(case.picture)]
            for label, case in zip(best, cases, strict=True)
        ]
        return torch.tensor(found, dtype=torch.float32)
