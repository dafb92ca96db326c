"""Pictures that validation makes of prompts and pictures that flags name."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..config.run import TrainSettings
from ..data.augment import crop_sample, plan_crop
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


def read_prompted(settings: TrainSettings) -> tuple[Prompted, ...]:
    """Return what `--validation_prompt`, `--validation_image` and `--validation_mask` name.

    A single prompt is that of all pictures; without masks everything is controlled.

    Raises:
        DatasetError: a picture cannot be read, or a mask does not fit it.
    """
    images, prompts = settings.validation_image, settings.validation_prompt
    masks: tuple[str | None, ...] = settings.validation_mask or (None,) * len(images)
    prompts = prompts * len(images) if len(prompts) == 1 else prompts
    return tuple(
        _read(settings, prompt, Path(image), None if mask is None else Path(mask))
        for prompt, image, mask in zip(prompts, images, masks, strict=True)
    )


def _read(settings: TrainSettings, prompt: str, image: Path, mask: Path | None) -> Prompted:
    given = settings.conditioning_image_column is not None
    record = Record(
        str(image),
        FileContent(image),
        condition=FileContent(image) if given else None,
        masks=None if mask is None else MaskPictures((FileContent(mask),)),
    )
    try:
        sample = record.load()
    except (OSError, ValueError) as error:
        with_mask = "" if mask is None else f" with --validation_mask {mask}"
        raise DatasetError(
            f"--validation_image {image}{with_mask} cannot be read: {error}."
        ) from error
    size = (settings.resolution, settings.resolution)
    crop = plan_crop(sample.size, size, generator(VALIDATION, 0), random=False, flip=False)
    sample = crop_sample(sample, crop)
    picture = _unit(sample.image)
    condition = sample.condition
    made = settings.made_condition()(picture[None])[0] if condition is None else _unit(condition)
    region = torch.from_numpy(sample.masks).float() / 255 if mask else torch.ones(1, *size)
    return Prompted(prompt, picture, made, region)


def _unit(image: np.ndarray) -> Tensor:
    """uint8 [H,W,3] -> [3,H,W] in 0..1."""
    return torch.from_numpy(image).movedim(-1, 0).float() / 255
