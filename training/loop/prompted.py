"""Pictures that validation makes of prompts and pictures that flags name."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..data.augment import crop_sample, plan_crop
from ..data.condition import Condition
from ..data.contents import FileContent
from ..data.mask_pictures import MaskPictures
from ..data.random_streams import VALIDATION, generator
from ..data.records import DatasetError, Record


@dataclass(frozen=True)
class Prompted:
    """A prompt with what controls it: image [3,H,W], condition [C,H,W], mask [1,H,W], in 0..1."""

    prompt: str
    image: Tensor
    condition: Tensor
    mask: Tensor


def read_prompted(
    prompts: Sequence[str],
    images: Sequence[str],
    masks: Sequence[str],
    side: int,
    condition: Condition | None,
) -> tuple[Prompted, ...]:
    """Return prompted pictures of files, cropped to squares of `side` px.

    A single prompt is that of all pictures; without masks everything is controlled. condition: how
    conditions are made of pictures; None: the pictures are conditions.

    Raises:
        DatasetError: a picture cannot be read, or a mask does not fit it.
    """
    prompts = [*prompts] * len(images) if len(prompts) == 1 else prompts
    regions = [Path(mask) for mask in masks] or [None] * len(images)
    return tuple(
        _read(prompt, Path(image), mask, side, condition)
        for prompt, image, mask in zip(prompts, images, regions, strict=True)
    )


def _read(
    prompt: str, image: Path, mask: Path | None, side: int, condition: Condition | None
) -> Prompted:
    masks = None if mask is None else MaskPictures((FileContent(mask),))
    # As a condition it is scaled as those of training are.
    given = FileContent(image) if condition is None else None
    record = Record(str(image), FileContent(image), condition=given, masks=masks)
    try:
        sample = record.load()
    except (OSError, ValueError) as error:
        with_mask = "" if mask is None else f" with --validation_mask {mask}"
        raise DatasetError(
            f"--validation_image {image}{with_mask} cannot be read: {error}."
        ) from error
    size = (side, side)
    crop = plan_crop(sample.size, size, generator(VALIDATION, 0), random=False, flip=False)
    sample = crop_sample(sample, crop)
    picture = _unit(sample.image)
    if condition is not None:
        made = condition(picture[None])[0]
    else:
        assert sample.condition is not None
        made = _unit(sample.condition)
    region = torch.from_numpy(sample.masks).float() / 255 if mask else torch.ones(1, *size)
    return Prompted(prompt, picture, made, region)


def _unit(image: np.ndarray) -> Tensor:
    """uint8 [H,W,3] -> [3,H,W] in 0..1."""
    return torch.from_numpy(image).movedim(-1, 0).float() / 255
