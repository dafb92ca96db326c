"""The building of what is kept: pictures and captions are encoded in batches, once."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from local_control.conditions import to_uint8

from ..config.processes import ignore_signals
from ..data.augment import Crop, crop_sample
from ..data.pictures import Size
from ..data.records import DatasetError, Record, Sample
from ..models.bases import Base
from .png import to_png
from .prepared import Making, Part, Prepared
from .store import ShardWriter

log = logging.getLogger(__name__)

# Pictures of 512 x 512, and captions, that are encoded at once. The last ones are filled up: what
# is made of one must not depend, by its last bits, on how many others were missing.
_ENCODE_BATCH = 8
_TEXT_BATCH = 8
# Samples whose missing parts are known at once.
_CHUNK = 4096


@dataclass(frozen=True)
class Share:
    """Which share of the work a process does, how many loaders help it, and whether it tells."""

    rank: int = 0
    count: int = 1
    workers: int = 0
    show: bool = True


def build_examples(prepared: Prepared, base: Base, part: Part, share: Share = Share()) -> int:
    """Return how many crops of a part were missing, and are encoded and kept now.

    Raises:
        DatasetError: the autoencoder's latent of a picture is not finite.
        OSError: the disk is nearly full; what was written before stays.
    """
    own = range(share.rank, len(part.data), share.count)
    made = 0
    bar = tqdm(desc="encoding pictures", disable=not share.show, mininterval=1, leave=False)
    with prepared.store.writer() as writer, bar:
        for start in range(0, len(own), _CHUNK):
            missing = _missing(prepared, part, own[start : start + _CHUNK])
            made += len(missing)
            for done in _read(missing, prepared.making, share.workers):
                _keep(done, base, writer)
                bar.update(len(done))
    return made


def build_text(
    prepared: Prepared, base: Base, captions: Iterable[str], share: Share = Share()
) -> int:
    """Return how many captions, each given once, were missing, and are embedded and kept now.

    Raises:
        OSError: the disk is nearly full; what was written before stays.
    """
    names = ((text, prepared.text_name(text)) for text in captions)
    missing = (
        (text, name)
        for text, name in names
        if int(name, 16) % share.count == share.rank and not prepared.store.has(name)
    )
    made = cut = 0
    with prepared.store.writer() as writer:
        while batch := dict(islice(missing, _TEXT_BATCH)):
            text = base.encode_text([*batch, *[""] * (_TEXT_BATCH - len(batch))])
            for i, name in enumerate(batch.values()):
                writer.put(name, {key: value[i].half() for key, value in text.items()})
            made += len(batch)
            cut += sum(map(base.is_cut, batch))
    if cut:
        log.warning(
            "%d captions are longer than the text encoder reads; the rest of each is cut off.", cut
        )
    return made


@dataclass(frozen=True)
class _Task:
    """What is missing of one crop: names of entries, empty where there is one."""

    record: Record
    crop: Crop
    latent: str
    control: str


def _missing(prepared: Prepared, part: Part, indices: Iterable[int]) -> list[_Task]:
    """What is missing of some samples; crops without room to move are the same."""
    tasks: dict[tuple[str, str], _Task] = {}
    for index in indices:
        digests = part.data.entry(index).digests
        for variant in range(part.variants):
            crop = prepared.making.crop(part, index, variant)
            names = prepared.latent_name(digests, crop), prepared.making.control_name(digests, crop)
            latent, control = ("" if prepared.store.has(name) else name for name in names)
            if (latent or control) and (latent, control) not in tasks:
                tasks[latent, control] = _Task(part.data[index], crop, latent, control)
    return list(tasks.values())


Done = tuple[_Task, Tensor, dict[str, Tensor]]


def _read(tasks: list[_Task], making: Making, workers: int) -> Iterable[list[Done]]:
    """The pictures and controls of tasks, in batches of one size."""
    return DataLoader(
        _Tasks(tasks, making),
        batch_sampler=_batches(tasks),
        collate_fn=list,
        num_workers=min(workers, len(tasks)),
        worker_init_fn=ignore_signals,
    )


def _keep(done: list[Done], base: Base, writer: ShardWriter) -> None:
    """Encode a batch and write what was missing of it."""
    if done[0][0].latent:
        for (task, _, _), latent in zip(done, _encode(base, done), strict=False):
            if not latent.isfinite().all():
                raise DatasetError(
                    f"The autoencoder's latent of {task.record.key} is not finite; use "
                    f"--vae_dtype fp32 or bf16, or an autoencoder made for fp16."
                )
            writer.put(task.latent, {"latent": latent})
    for task, _, control in done:
        if task.control:
            writer.put(task.control, control)


class _Tasks(Dataset):
    """Decoding, cropping and filtering, for the loader's workers."""

    def __init__(self, tasks: Sequence[_Task], making: Making) -> None:
        self._tasks = tasks
        self._making = making

    def __len__(self) -> int:
        return len(self._tasks)

    def __getitem__(self, index: int) -> Done:
        task = self._tasks[index]
        sample = crop_sample(task.record.load(), task.crop)
        image = torch.from_numpy(sample.image).movedim(-1, 0)
        return task, image, self._control(sample, image) if task.control else {}

    def _control(self, sample: Sample, image: Tensor) -> dict[str, Tensor]:
        condition = sample.condition
        if condition is None:
            condition = to_uint8(self._making.condition(image[None].float() / 255)[0])
        out = {"condition": to_png(condition)}
        for i, mask in enumerate(sample.masks):
            out[f"mask.{i:03d}"] = to_png(255 - mask if self._making.invert else mask)
        return out


def _encode(base: Base, done: Sequence[Done]) -> Tensor:
    """Latents in half precision of a batch of tasks of one size."""
    images = torch.stack([image for _, image, _ in done]).float() / 255
    images = _filled(images, _encode_batch(done[0][0].crop.size))
    return base.encode_images(images.to(base.pipeline.vae.device)).half()


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
