"""What a run reads from disk instead of making it anew: latents, conditions, masks, text."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from local_control.conditions import to_uint8

from ..config.processes import ignore_signals
from ..config.run import TrainSettings
from ..data.augment import Crop, Size, crop_sample, plan_crop
from ..data.checked import Checked
from ..data.dataset import DatasetError, Record, Sample
from ..loop.plan import CROP, generator
from ..models.bases import Base
from .tensor_cache import TensorCache, digest

# Pictures of 512 x 512, and captions, that are encoded at once. The last ones are filled up: what
# is made of one must not depend, by its last bits, on how many others were missing.
_ENCODE_BATCH = 8
_TEXT_BATCH = 8


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
    """Samples with the bucket of each, and how many crops of each are cached."""

    data: Checked
    buckets: Sequence[Size]
    variants: int = 1


class Cache:
    """The prepared parts of examples by what they are made from."""

    def __init__(self, settings: TrainSettings, autoencoder: str, text: str) -> None:
        self._store = TensorCache(settings.cache_folder)
        self._settings = settings
        self._autoencoder = autoencoder
        self._text = text

    def example(self, part: Part, index: int, variant: int) -> Prepared:
        """One crop of one sample; DatasetError if it was never built or is gone."""
        crop = self._crop(part, index, variant)
        record = part.data[index]
        latent = self._store.get(self._latent_name(record, crop))
        control = self._store.get(self._control_name(record, crop))
        if latent is None or control is None:
            raise DatasetError(
                f"The cached latent of {record.key} is gone or its picture has changed; start "
                f"again, and it is made anew."
            )
        masks = [_from_png(control[key]) for key in sorted(control) if key.startswith("mask.")]
        condition = torch.from_numpy(np.atleast_3d(_from_png(control["condition"])))
        return Prepared(
            latent["latent"].float(),
            condition.movedim(-1, 0).float().div(255),
            np.stack(masks).astype(np.float32) / 255 if masks else np.zeros((0, *crop.size)),
            torch.tensor([*crop.original, *crop.seen_corner, *crop.size], dtype=torch.float32),
        )

    def picture(self, part: Part, index: int, variant: int) -> Tensor:
        """The crop itself [3,H,W] in 0..1, read anew from its source."""
        image = crop_sample(part.data[index].load(), self._crop(part, index, variant)).image
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
        tasks: dict[tuple[str, str], _Task] = {}  # crops without room to move are the same
        for index in range(worker[0], len(part.data), worker[1]):
            for variant in range(part.variants):
                task = self._task(part.data[index], self._crop(part, index, variant))
                tasks[task.latent, task.control] = task
        missing = [task for names, task in tasks.items() if any(names)]
        loader = DataLoader(
            _Tasks(missing, self._settings),
            batch_sampler=_batches(missing),
            collate_fn=list,
            num_workers=self._settings.dataloader_num_workers,
            worker_init_fn=ignore_signals,
        )
        for done in tqdm(loader, desc="encoding pictures", disable=not (show and missing)):
            if done[0][0].latent:
                images = torch.stack([image for _, image, _ in done]).float() / 255
                images = _filled(images, _encode_batch(done[0][0].crop.size))
                latents = base.encode_images(images.to(base.pipeline.vae.device))
                for (task, _, _), latent in zip(done, latents.half(), strict=False):
                    if not latent.isfinite().all():
                        raise DatasetError(
                            f"The autoencoder's latent of {task.record.key} is not finite; use "
                            f"--vae_dtype fp32 or bf16, or an autoencoder made for fp16."
                        )
                    self._store.put(task.latent, {"latent": latent})
            for task, _, control in done:
                if task.control:
                    self._store.put(task.control, control)
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
            text = base.encode_text([*batch, *[""] * (_TEXT_BATCH - len(batch))])
            for i, caption in enumerate(batch):
                entry = {key: value[i].half() for key, value in text.items()}
                self._store.put(self._text_name(caption), entry)
        return len(missing)

    def _crop(self, part: Part, index: int, variant: int) -> Crop:
        rng = generator(CROP, variant, int(digest(part.data[index].key)[:8], 16))
        return plan_crop(
            part.data.sizes[index],
            part.buckets[index],
            rng,
            random=not self._settings.center_crop,
            flip=self._settings.random_flip,
        )

    def _task(self, record: Record, crop: Crop) -> "_Task":
        latent, control = self._latent_name(record, crop), self._control_name(record, crop)
        has = self._store.has
        return _Task(record, crop, "" if has(latent) else latent, "" if has(control) else control)

    def _latent_name(self, record: Record, crop: Crop) -> str:
        return digest("latent 1", self._autoencoder, record.key, record.stamp, asdict(crop))

    def _control_name(self, record: Record, crop: Crop) -> str:
        settings = self._settings
        column = settings.conditioning_image_column
        condition = ["column", column] if column else str(settings.made_condition())
        masks = [settings.mask_column, settings.coco_instances is not None, settings.invert_masks]
        return digest("control 1", record.key, record.stamp, asdict(crop), condition, masks)

    def _text_name(self, caption: str) -> str:
        return digest("text 1", self._text, caption)


@dataclass(frozen=True)
class _Task:
    """What is missing of one crop: names of entries, empty where there is one."""

    record: Record
    crop: Crop
    latent: str
    control: str


class _Tasks(Dataset):
    """Decoding, cropping and filtering, for the loader's workers."""

    def __init__(self, tasks: Sequence[_Task], settings: TrainSettings) -> None:
        self._tasks = tasks
        self._settings = settings

    def __len__(self) -> int:
        return len(self._tasks)

    def __getitem__(self, index: int) -> tuple[_Task, Tensor, dict[str, Tensor]]:
        task = self._tasks[index]
        sample = crop_sample(task.record.load(), task.crop)
        image = torch.from_numpy(sample.image).movedim(-1, 0)
        return task, image, self._control(sample, image) if task.control else {}

    def _control(self, sample: Sample, image: Tensor) -> dict[str, Tensor]:
        condition = sample.condition
        if condition is None:
            made = self._settings.made_condition()(image[None].float() / 255)
            condition = to_uint8(made[0])
        out = {"condition": _to_png(condition)}
        for i, mask in enumerate(sample.masks):
            out[f"mask.{i:03d}"] = _to_png(
                255 * (1 - mask if self._settings.invert_masks else mask)
            )
        return out


def _encode_batch(size: Size) -> int:
    """How many pictures (height, width) are encoded at once."""
    return max(1, min(_ENCODE_BATCH, _ENCODE_BATCH * 512**2 // (size[0] * size[1])))


def _filled(images: Tensor, count: int) -> Tensor:
    """`count` pictures, the last one again and again if there are fewer."""
    return torch.cat([images, images[-1:].expand(count - len(images), -1, -1, -1)])


def _batches(tasks: Sequence[_Task]) -> list[list[int]]:
    """Indices of tasks in batches of one picture size, with or without latents."""
    groups: dict[tuple[Size, bool], list[int]] = {}
    for index, task in enumerate(tasks):
        groups.setdefault((task.crop.size, bool(task.latent)), []).append(index)
    return [
        group[start : start + count]
        for (size, _), group in groups.items()
        for count in [_encode_batch(size)]
        for start in range(0, len(group), count)
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
