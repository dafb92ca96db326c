"""What is evaluated: pictures, masks, prompts and seeds, fixed in `evaluation_set.toml`."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from ..data.augment import crop_sample, plan_crop
from ..data.checked import Checked
from ..data.random_streams import CROP, generator
from ..data.records import DatasetError

EVALUATION_SET = Path(__file__).parent / "evaluation_set.toml"


@dataclass(frozen=True)
class Case:
    """One picture [3,H,W] in 0..1 controlled through one mask [1,H,W], under one prompt and seed.

    picture: the key that groups cases of the same picture, over which intervals are taken.
    condition: its own [3,H,W] in 0..1, where the data has a column of them.
    """

    picture: str
    image: Tensor
    mask: Tensor
    mask_name: str
    prompt: str
    seed: int
    condition: Tensor | None = None


def read_evaluation_set(path: Path = EVALUATION_SET) -> dict[str, Any]:
    """Seeds, prompts and masks.

    Raises:
        DatasetError: the file is no TOML, or lacks one of them.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DatasetError(f"{path} is no TOML ({error}).") from None
    for key in ("seeds", "prompts", "masks"):
        if not found.get(key):
            raise DatasetError(f"{path} names no {key}; see the one in training/.")
    return found


def draw_mask(shape: Any, size: tuple[int, int], objects: np.ndarray) -> Tensor | None:
    """A mask [1,H,W] from its entry in the set, or None: the picture has no mask of its own, or one
    with nothing in this crop, where nothing would be controlled.
    """
    height, width = size
    if shape == "object":
        return torch.from_numpy(objects[:1]) if (objects[:1] >= 0.5).any() else None
    mask = np.zeros(size, np.float32)
    if "box" in shape:
        left, top, right, bottom = shape["box"]
        mask[
            round(top * height) : round(bottom * height),
            round(left * width) : round(right * width),
        ] = 1
    else:
        x, y, rx, ry = shape["ellipse"]
        centre, axes = (x * width, y * height), (2 * rx * width, 2 * ry * height)
        cv2.ellipse(mask, (centre, axes, 0.0), 1.0, -1)
    return torch.from_numpy(mask)[None]


def make_cases(
    data: Checked,
    resolution: int,
    chosen: dict[str, Any],
    masks: Sequence[str] = (),
    invert: bool = False,
) -> list[Case]:
    """Every picture (its centre square) with every mask and seed; `masks` picks some by name.

    invert: the pictures' own masks are black = controlled.

    Raises:
        DatasetError: a mask is not in the set, or no picture has one of those asked for.
    """
    names = list(masks) or list(chosen["masks"])
    if unknown := set(names) - chosen["masks"].keys():
        raise DatasetError(f"The evaluation set has no mask {sorted(unknown)[0]!r}.")
    cases = []
    for index in range(len(data)):
        record = data[index]
        size = (resolution, resolution)
        crop = plan_crop(data.entry(index).size, size, generator(CROP, 0), random=False, flip=False)
        sample = crop_sample(record.load(), crop)
        image = _to_tensor(sample.image)
        condition = None if sample.condition is None else _to_tensor(sample.condition)
        masks_of = sample.masks.astype(np.float32) / 255
        objects = 1 - masks_of if invert else masks_of
        prompt = sample.caption or chosen["prompts"][index % len(chosen["prompts"])]
        for name in names:
            mask = draw_mask(chosen["masks"][name], size, objects)
            if mask is not None:
                cases += [
                    Case(record.key, image, mask, name, prompt, seed, condition)
                    for seed in chosen["seeds"]
                ]
    if not cases:
        raise DatasetError("No picture has a mask of its own; choose other --masks.")
    return cases


def _to_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image).movedim(-1, 0).float() / 255


def first_of_each(cases: Sequence[Case]) -> list[int]:
    """The indices of the first case of every picture."""
    first: dict[str, int] = {}
    for index, case in enumerate(cases):
        first.setdefault(case.picture, index)
    return list(first.values())


def spread_out(cases: Sequence[Case], count: int) -> list[int]:
    """The indices of some cases of as many pictures, masks and seeds as there can be."""
    members: dict[str, list[int]] = {}
    for index, case in enumerate(cases):
        members.setdefault(case.picture, []).append(index)
    # Each picture begins with another one of its cases, since all have the same masks and seeds.
    turned = [own[i % len(own) :] + own[: i % len(own)] for i, own in enumerate(members.values())]
    longest = max(map(len, turned), default=0)
    order = [own[turn] for turn in range(longest) for own in turned if turn < len(own)]
    return sorted(order[:count])
