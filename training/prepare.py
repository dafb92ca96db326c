"""What a run reads from disk instead of making it anew: latents, conditions, masks, text."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from local_control.conditions import to_uint8

from .augment import Crop, Size, crop_sample, plan_crop
from .bases import Base
from .config import TrainSettings
from .dataset import Checked, DatasetError, Record
from .plan import CROP, generator
from .tensor_cache import TensorCache, digest

_ENCODE_BATCH = 8
_TEXT_BATCH = 32


@dataclass(frozen=True)
class Prepared:
    """One crop of a picture: latent [C,h,w], condition [Cin,H,W] and masks [K,H,W] in 0..1.

    time_ids [6]: original size, crop corner and size as (height, width), as SDXL is told them.
    """

    latent: Tensor
    condition: Tensor
    masks: np.ndarray
    time_ids: Tensor


@dataclass(frozen=True)
class Part:
    """Samples with the bucket of each."""

    data: Checked
    buckets: Sequence[Size]


class Cache:
    """The prepared parts of examples by what they are made from."""

    def __init__(self, settings: TrainSettings, autoencoder: str, text: str) -> None:
        self._store = TensorCache(settings.cache_folder)
        self._settings = settings
        self._autoencoder = autoencoder
        self._text = text

    def example(self, part: Part, index: int, variant: int) -> Prepared:
        """One crop of one sample; DatasetError if it was never built or is gone."""
        name, crop = self._example_name(part, index, variant)
        found = self._store.get(name)
        if found is None:
            raise DatasetError(
                f"The cached latent of {part.data[index].key} is gone or its picture has changed; "
                f"start again, and it is made anew."
            )
        masks = [_from_png(found[key]) for key in sorted(found) if key.startswith("mask.")]
        condition = torch.from_numpy(np.atleast_3d(_from_png(found["condition"])))
        return Prepared(
            found["latent"].float(),
            condition.movedim(-1, 0).float().div(255),
            np.stack(masks).astype(np.float32) / 255 if masks else np.zeros((0, *crop.size)),
            torch.tensor([*crop.original, *crop.corner, *crop.size], dtype=torch.float32),
        )

    def picture(self, part: Part, index: int, variant: int) -> Tensor:
        """The crop itself [3,H,W] in 0..1, read anew from its source."""
        _, crop = self._example_name(part, index, variant)
        image = crop_sample(part.data[index].load(), crop).image
        return torch.from_numpy(image).movedim(-1, 0).float() / 255

    def text(self, caption: str) -> dict[str, Tensor]:
        """context [T,D], and for SDXL pooled [P]; DatasetError if it was never built."""
        found = self._store.get(self._text_name(caption))
        if found is None:
            raise DatasetError(f"The caption {caption!r} is not in the cache; start again.")
        return {key: value.float() for key, value in found.items()}

    def build_examples(
        self, base: Base, part: Part, worker: tuple[int, int] = (0, 1), show: bool = True
    ) -> int:
        """Encode what is missing; worker: (rank, count) shares the work. -> how many were made."""
        missing = []
        for index in range(worker[0], len(part.data), worker[1]):
            for variant in range(self._settings.crop_variants):
                name, crop = self._example_name(part, index, variant)
                if not self._store.has(name):
                    missing.append(_Task(name, part.data[index], crop))
        batches = _batches(missing, lambda task: task.crop.size, _ENCODE_BATCH)
        loader = DataLoader(
            _Tasks(missing, self._settings),
            batch_sampler=batches,
            collate_fn=list,
            num_workers=self._settings.dataloader_num_workers,
        )
        for done in tqdm(loader, desc="encoding pictures", disable=not (show and missing)):
            images = torch.stack([item.pop("image") for _, item in done])
            latents = base.encode_images(images.to(base.pipeline.vae.device).float() / 255)
            for (name, item), latent in zip(done, latents, strict=True):
                self._store.put(name, item | {"latent": latent.half()})
        return len(missing)

    def build_text(
        self,
        base: Base,
        captions: Sequence[str],
        worker: tuple[int, int] = (0, 1),
        show: bool = True,
    ) -> int:
        """Embed what is missing; worker: (rank, count) shares the work. -> how many were made."""
        unique = sorted(set(captions))[worker[0] :: worker[1]]
        missing = [caption for caption in unique if not self._store.has(self._text_name(caption))]
        starts = range(0, len(missing), _TEXT_BATCH)
        for start in tqdm(starts, desc="embedding captions", disable=not (show and missing)):
            batch = missing[start : start + _TEXT_BATCH]
            text = base.encode_text(batch)
            for i, caption in enumerate(batch):
                entry = {key: value[i].half() for key, value in text.items()}
                self._store.put(self._text_name(caption), entry)
        return len(missing)

    def _example_name(self, part: Part, index: int, variant: int) -> tuple[str, Crop]:
        settings, record = self._settings, part.data[index]
        rng = generator(CROP, variant, int(digest(record.key)[:8], 16))
        crop = plan_crop(
            part.data.sizes[index],
            part.buckets[index],
            rng,
            random=not settings.center_crop,
            flip=settings.random_flip,
        )
        made = [str(settings.made_condition()), settings.conditioning_image_column]
        masks = [
            settings.mask_column,
            settings.coco_instances is not None,
            settings.invert_masks,
        ]
        sources = [record.key, record.stamp, self._autoencoder]
        plan = [*crop.original, *crop.corner, *crop.size, crop.flipped]
        return digest("example 1", json.dumps([sources, plan, made, masks])), crop

    def _text_name(self, caption: str) -> str:
        return digest("text 1", self._text, caption)


@dataclass(frozen=True)
class _Task:
    name: str
    record: Record
    crop: Crop


class _Tasks(Dataset):
    """Decoding, cropping and filtering, for the loader's workers."""

    def __init__(self, tasks: Sequence[_Task], settings: TrainSettings) -> None:
        self._tasks = tasks
        self._settings = settings

    def __len__(self) -> int:
        return len(self._tasks)

    def __getitem__(self, index: int) -> tuple[str, dict[str, Tensor]]:
        task, settings = self._tasks[index], self._settings
        sample = crop_sample(task.record.load(), task.crop)
        image = torch.from_numpy(sample.image).movedim(-1, 0)
        if sample.condition is not None:
            condition = sample.condition
        else:
            condition = to_uint8(settings.made_condition()(image[None].float() / 255)[0])
        out = {"image": image, "condition": _to_png(condition)}
        for i, mask in enumerate(sample.masks):
            out[f"mask.{i:03d}"] = _to_png((1 - mask if settings.invert_masks else mask) * 255)
        return task.name, out


def _batches(items: Sequence[Any], key: Callable[[Any], Any], size: int) -> list[list[int]]:
    """Indices of `items` in batches that share a key."""
    groups: dict[Any, list[int]] = {}
    for index, item in enumerate(items):
        groups.setdefault(key(item), []).append(index)
    return [
        group[start : start + size]
        for group in groups.values()
        for start in range(0, len(group), size)
    ]


def _to_png(array: np.ndarray) -> Tensor:
    """[H,W] or [H,W,C] in 0..255 -> the bytes of a PNG file; edges take a few KB so."""
    _, data = cv2.imencode(".png", np.round(array).astype(np.uint8))
    return torch.from_numpy(data.reshape(-1))


def _from_png(data: Tensor) -> np.ndarray:
    """The bytes of a PNG file -> uint8 [H,W] or [H,W,C]."""
    image = cv2.imdecode(data.numpy(), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image
