"""Training examples: cached latents and conditions, masks and noise drawn for each use."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from ..cached.prepared import Part, Prepared, PreparedCrop
from ..config.processes import ignore_signals
from ..data.random_masks import RandomMasks
from ..data.random_streams import MASK, NOISE, PERTURBATION, TEXT, generator
from ..models.batch import Batch
from .plan import EpochPlan

Place = tuple[int, int]  # position in the run, index of the sample


@dataclass(frozen=True)
class Draws:
    """What is drawn for each use of a sample.

    empty_share: of prompts. blank_share: of conditions that are blank outside the mask.
    noise_offset: how far the noise of each channel is shifted, as a share of its spread.
    perturbation: how much noise is added that is not to be predicted, as a share of the other.
    """

    seed: int
    masks: RandomMasks
    empty_share: float = 0.0
    blank_share: float = 0.0
    noise_offset: float = 0.0
    perturbation: float = 0.0


class Examples(Dataset):
    """Examples by (position, index); every draw depends on (seed, position) alone."""

    def __init__(self, part: Part, prepared: Prepared, draws: Draws) -> None:
        self._part = part
        self._prepared = prepared
        self._draws = draws

    def __len__(self) -> int:
        return len(self._part.data)

    def variant(self, position: int) -> int:
        """Return which of its cached crops a sample shows: the next one in each epoch."""
        return position // len(self) % self._part.variants

    def picture(self, place: Place) -> Tensor:
        """Return the picture [3,H,W] in 0..1 that an example shows, read anew from its source."""
        position, index = place
        return self._prepared.picture(self._part, index, self.variant(position))

    def __getitem__(self, place: Place) -> dict[str, Tensor]:
        position, index = place
        draws = self._draws
        crop = self._prepared.example(self._part, index, self.variant(position))
        empty = generator(draws.seed, TEXT, position).random() < draws.empty_share
        text = self._prepared.embedding("" if empty else self._part.data.entry(index).caption)
        rng = generator(draws.seed, NOISE, position)
        noise = rng.standard_normal(crop.latent.shape, np.float32)
        u = rng.random()
        if draws.noise_offset:
            shift = rng.standard_normal((len(noise), 1, 1), np.float32)
            noise = noise + np.float32(draws.noise_offset) * shift
        mask, condition = self._mask(crop, generator(draws.seed, MASK, position))
        out = {
            "z0": crop.latent,
            "noise": torch.from_numpy(noise),
            "u": torch.tensor(u, dtype=torch.float32),
            "condition": condition,
            "mask": mask,
            "time_ids": crop.time_ids,
        }
        if draws.perturbation:
            more = generator(draws.seed, PERTURBATION, position).standard_normal(
                crop.latent.shape, np.float32
            )
            out["perturbation"] = torch.from_numpy(more).mul_(draws.perturbation)
        return out | text

    def _mask(self, crop: PreparedCrop, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        condition = crop.condition
        size = (condition.shape[-2], condition.shape[-1])
        mask = torch.from_numpy(self._draws.masks.draw(size, rng, crop.masks))[None]
        if rng.random() < self._draws.blank_share:
            condition = condition * mask
        return mask, condition


@dataclass(frozen=True)
class Division:
    """How a step's global batch is divided: into accumulation parts, each among processes.

    size: of a micro-batch.
    """

    size: int
    parts: int = 1
    rank: int = 0
    world: int = 1

    @property
    def whole(self) -> int:
        """Return how many samples a step has, over all parts and processes."""
        return self.size * self.parts * self.world

    def own(self, part: int) -> slice:
        """Return which samples of a step this process sees in a part."""
        start = (part * self.world + self.rank) * self.size
        return slice(start, start + self.size)


class Places(Sampler[list[Place]]):
    """The micro-batches of one process, from a step on.

    Other numbers of processes and parts see the same samples at the same positions.
    """

    def __init__(self, plan: EpochPlan, division: Division, steps: range) -> None:
        self._plan = plan
        self._division = division
        self._steps = steps

    def __iter__(self) -> Iterator[list[Place]]:
        for step in self._steps:
            indices = self._plan.step(step)
            places = [(step * len(indices) + i, index) for i, index in enumerate(indices)]
            for part in range(self._division.parts):
                yield places[self._division.own(part)]


def collate(examples: Sequence[dict[str, Tensor]]) -> Batch:
    """Return examples stacked; time ids are only for models that have pooled text."""
    stacked: dict[str, Any] = default_collate(list(examples))
    for part in ("condition", "mask"):
        stacked[part] = stacked[part].mul(255).round_().to(torch.uint8)
    if "pooled" not in stacked:
        stacked.pop("time_ids")
    return Batch(**stacked)


def loader(examples: Examples, places: Places, workers: int) -> DataLoader:
    """Return batches in the order of `places`, whatever the number of workers."""
    return DataLoader(
        examples,
        batch_sampler=places,
        num_workers=workers,
        worker_init_fn=ignore_signals,
        collate_fn=collate,
        persistent_workers=False,
        pin_memory=torch.cuda.is_available(),
    )
