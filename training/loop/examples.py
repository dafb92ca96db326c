"""Training examples: cached latents and conditions, masks and noise drawn for each use."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from ..cached.prepare import Cache, Part, Prepared
from ..config.processes import ignore_signals
from ..config.run import TrainSettings
from ..data.masks import mask_shares, own_masks, random_mask
from .plan import MASK, NOISE, TEXT, EpochPlan, generator

Place = tuple[int, int]  # position in the run, index of the sample


@dataclass(frozen=True)
class Batch:
    """z0 and noise [B,C,h,w], u [B] in 0..1 (the timestep's draw), context [B,T,D], condition
    [B,Cin,H,W] and mask [B,1,H,W] in 0..1; for SDXL pooled text [B,P] and time ids [B,6].
    """

    z0: Tensor
    noise: Tensor
    u: Tensor
    context: Tensor
    condition: Tensor
    mask: Tensor
    pooled: Tensor | None = None
    time_ids: Tensor | None = None

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        return self._map(lambda value: value.to(device, non_blocking=True))

    def repeat(self, count: int) -> Self:
        """Every sample `count` times."""
        return self._map(lambda value: value.repeat_interleave(count, 0))

    def text(self) -> dict[str, Tensor]:
        """The embeddings as `Base.encode_text` names them."""
        pooled = {} if self.pooled is None else {"pooled": self.pooled}
        return {"context": self.context} | pooled

    def added(self) -> dict[str, Tensor] | None:
        """What SDXL's UNet wants beside the context."""
        if self.pooled is None or self.time_ids is None:
            return None
        return {"text_embeds": self.pooled, "time_ids": self.time_ids}

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        changed: dict[str, Any] = {k: None if v is None else change(v) for k, v in values.items()}
        return type(self)(**changed)


class Examples(Dataset):
    """Examples by (position, index); every draw depends on (seed, position) alone."""

    def __init__(self, part: Part, cache: Cache, settings: TrainSettings) -> None:
        self._part = part
        self._cache = cache
        self._settings = settings
        self._shares = mask_shares(settings.mask_source, settings.mask_shares)

    def __len__(self) -> int:
        return len(self._part.data)

    def variant(self, position: int) -> int:
        """Which of its cached crops a sample shows: the next one in each epoch."""
        return position // len(self) % self._settings.crop_variants

    def __getitem__(self, place: Place) -> dict[str, Tensor]:
        position, index = place
        settings = self._settings
        prepared = self._cache.example(self._part, index, self.variant(position))
        text_rng = generator(settings.seed, TEXT, position)
        empty = text_rng.random() < settings.proportion_empty_prompts
        text = self._cache.text("" if empty else self._part.data[index].caption)
        rng = generator(settings.seed, NOISE, position)
        noise = rng.standard_normal(prepared.latent.shape, np.float32)
        mask, condition = self._mask(prepared, generator(settings.seed, MASK, position))
        out = {
            "z0": prepared.latent,
            "noise": torch.from_numpy(noise),
            "u": torch.tensor(rng.random(), dtype=torch.float32),
            "condition": condition,
            "mask": mask,
            "time_ids": prepared.time_ids,
        }
        return out | text

    def _mask(self, prepared: Prepared, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        condition = prepared.condition
        size = (condition.shape[-2], condition.shape[-1])
        objects = own_masks(self._settings.mask_source, prepared.masks)
        mask = torch.from_numpy(random_mask(size, rng, objects, self._shares))[None]
        if rng.random() < self._settings.masked_condition_share:
            condition = condition * mask
        return mask, condition


class Places(Sampler[list[Place]]):
    """The micro-batches of one process, from a step on.

    A step's global batch is cut into accumulation parts, each into one micro-batch a process, so
    that other numbers of processes and parts see the same samples at the same positions.
    """

    def __init__(self, plan: EpochPlan, settings: TrainSettings, rank: int, world: int) -> None:
        self._plan = plan
        self._settings = settings
        self._rank = rank
        self._world = world
        self.first_step = 0

    def __iter__(self) -> Iterator[list[Place]]:
        size = self._settings.train_batch_size
        for step in range(self.first_step, self._settings.max_train_steps):
            indices = self._plan.step(step)
            places = [(step * len(indices) + i, index) for i, index in enumerate(indices)]
            for part in range(self._settings.gradient_accumulation_steps):
                start = (part * self._world + self._rank) * size
                yield places[start : start + size]


def collate(examples: Sequence[dict[str, Tensor]]) -> Batch:
    """Stack examples; time ids are only for models that have pooled text."""
    stacked: dict[str, Any] = default_collate(list(examples))
    if "pooled" not in stacked:
        stacked.pop("time_ids")
    return Batch(**stacked)


def loader(examples: Examples, places: Places, workers: int) -> DataLoader:
    """Batches in the order of `places`, whatever the number of workers."""
    return DataLoader(
        examples,
        batch_sampler=places,
        num_workers=workers,
        worker_init_fn=ignore_signals,
        collate_fn=collate,
        persistent_workers=False,
        pin_memory=torch.cuda.is_available(),
    )
