"""Validation on held-out pictures: the loss at fixed noise levels, and sampled pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from local_control.losses import LocalControlLoss

from ..cached.prepared import Part, Prepared
from ..data.condition import Condition
from ..data.random_masks import RandomMasks
from ..data.random_streams import VALIDATION, generator
from ..evaluation.measures import quick_measures
from ..evaluation.sheets import edge_panel, sheet, tinted
from ..models.bases import Base
from ..models.batch import Batch
from ..models.controls import Control
from ..models.denoise import denoise_at
from ..models.sample import Sampling, sample
from .examples import collate
from .prompted import Prompted

MAX_SAMPLES = 32
HELD_OUT, PROMPTS = "held out", "prompts"
# What sheets show -> how the names of their files begin.
SHEETS = {HELD_OUT: "step", PROMPTS: "prompts"}
_HEADINGS = ("seen", "no control", "control", "its edges")
Sampled = tuple[Batch, Tensor, Tensor]  # with its true picture and the one without control


@dataclass(frozen=True)
class Shown:
    """How a control is shown pictures in training, which validation repeats.

    masks: drawn ones, without empty ones. blank_share: of conditions that are blank outside the
    mask. gated: control is masked. condition: what adherence is measured by.
    """

    masks: RandomMasks
    blank_share: float
    gated: bool
    condition: Condition


@dataclass(frozen=True)
class Validated:
    """What a validation finds.

    losses: each term's mean, their sum, the sum at each t. measured: of the samples. sheets: uint8
    [H,W,3] by what they show.
    """

    losses: dict[str, float]
    measured: dict[str, float]
    sheets: dict[str, np.ndarray]


@dataclass
class Validation:
    """Fixed held-out examples: the same pictures, masks, noise and timesteps at every call.

    sampled: how many pictures are sampled; sampling: how, its precision that of the losses too.
    prompted: what is sampled beside them.
    """

    base: Base
    part: Part
    prepared: Prepared
    shown: Shown
    objective: LocalControlLoss
    timesteps: Sequence[int]
    sampled: int
    sampling: Sampling
    prompted: Sequence[Prompted] = ()

    @cached_property
    def examples(self) -> list[Batch]:
        """Return up to `MAX_SAMPLES` batches on the CPU, each of one example: sizes may differ."""
        return [self._example(index) for index in range(min(MAX_SAMPLES, len(self.part.data)))]

    def _example(self, index: int) -> Batch:
        rng = generator(VALIDATION, index)
        crop = self.prepared.example(self.part, index, 0)
        size = (crop.condition.shape[-2], crop.condition.shape[-1])
        mask = self.shown.masks.draw(size, rng, crop.masks)
        noise = rng.standard_normal(crop.latent.shape, "float32")
        condition = crop.condition
        if rng.random() < self.shown.blank_share:  # as in training
            condition = condition * torch.from_numpy(mask)
        entry = {
            "z0": crop.latent,
            "noise": torch.from_numpy(noise),
            "u": torch.tensor(0.0),
            "condition": condition,
            "mask": torch.from_numpy(mask)[None],
            "time_ids": crop.time_ids,
        }
        text = self.prepared.embedding(self.part.data.entry(index).caption)
        return collate([entry | text])

    def run(self, control: Control) -> Validated:
        """Return the losses of a control, and what is measured and seen of samples."""
        losses, measured, sheets = self.losses(control), {}, {}
        if self.sampled:
            sheets[HELD_OUT], measured = self.pictures(control)
        if self.prompted:
            sheets[PROMPTS] = self.prompted_pictures(control)
        return Validated(losses, measured, sheets)

    @torch.no_grad()
    def losses(self, control: Control) -> dict[str, float]:
        """Return each term's mean over pictures and timesteps, their sum, and the sum at each t."""
        times = torch.tensor(self.timesteps, device=self.base.device)
        gated, precision = self.shown.gated, self.sampling.mixed_precision
        sums: dict[str, Tensor] = {}
        for batch in self.examples:
            repeated = batch.to(self.base.device).repeat(len(times))
            free = self.objective.needs_free
            found = denoise_at(self.base, control, repeated, times, gated, precision, free)
            for name, values in self.objective.terms(found).items():
                sums[name] = sums.get(name, torch.zeros_like(values)) + values / len(self.examples)
        total = torch.stack(list(sums.values())).sum(0)
        out = {name: values.mean().item() for name, values in sums.items()}
        out["loss"] = total.mean().item()
        at_times = zip(times.tolist(), total.tolist(), strict=True)
        return out | {f"loss at t={t}": value for t, value in at_times}

    @torch.no_grad()
    def pictures(self, control: Control) -> tuple[np.ndarray, dict[str, float]]:
        """Return a sheet of some examples that are sampled, and their mean adherence and leak."""
        return self._sheet(self._free, control)

    @torch.no_grad()
    def prompted_pictures(self, control: Control) -> np.ndarray:
        """Return a sheet of what is prompted, sampled."""
        return self._sheet(self._free_prompted, control)[0]

    def _sheet(
        self, shown: Sequence[Sampled], control: Control
    ) -> tuple[np.ndarray, dict[str, float]]:
        """A sheet uint8 [H,W,3] of what is shown, sampled with control, and its mean measures."""
        rows, found = [], []
        condition = self.shown.condition
        for batch, source, free in shown:
            image = self._sample(batch, control)
            batch = batch.to(torch.device("cpu"))
            mask = batch.mask
            found.append(quick_measures(image, free, source, mask, condition))
            seen = tinted(source[0], batch.condition[0], mask[0])
            rows.append([seen, free[0], image[0], edge_panel(image[0], mask[0], condition)])
        joined = {key: torch.cat([measured[key] for measured in found]) for key in found[0]}
        # A full mask has no outside, and so no leak.
        means = {k: v.nanmean().item() for k, v in joined.items() if not v.isnan().all()}
        return sheet(rows, _HEADINGS), means

    @cached_property
    def _free_prompted(self) -> list[Sampled]:
        """What is prompted, its pictures and what the base makes of the prompts alone."""
        batches = [self._prompted(index, one) for index, one in enumerate(self.prompted)]
        return [
            (batch, one.image[None], self._sample(batch, None))
            for batch, one in zip(batches, self.prompted, strict=True)
        ]

    def _prompted(self, index: int, one: Prompted) -> Batch:
        """A batch of one that is sampled; its latent and timestep are not looked at."""
        factor, side = self.base.pipeline.vae_scale_factor, one.image.shape[-1]
        size = (int(self.base.unet.config["in_channels"]), side // factor, side // factor)
        noise = generator(VALIDATION, index).standard_normal(size, "float32")
        entry = {
            "z0": torch.zeros(size),
            "noise": torch.from_numpy(noise),
            "u": torch.tensor(0.0),
            "condition": one.condition,
            "mask": one.mask,
            "time_ids": torch.tensor([side, side, 0, 0, side, side], dtype=torch.float32),
        }
        return collate([entry | self.prepared.embedding(one.prompt)])

    @cached_property
    def _free(self) -> list[Sampled]:
        """The examples to sample, their pictures and what the base makes without control."""
        size = self.examples[0].z0.shape
        chosen = [batch for batch in self.examples if batch.z0.shape == size][: self.sampled]
        with self.base.autoencoder_on(self.base.device):
            sources = [self.base.decode(batch.z0).cpu() for batch in chosen]
        return [
            (batch, source, self._sample(batch, None))
            for batch, source in zip(chosen, sources, strict=True)
        ]

    def _sample(self, batch: Batch, control: Control | None) -> Tensor:
        batch, acting = batch.to(self.base.device), None
        if control is not None:
            mask = batch.mask if self.shown.gated else None
            acting = control.on(batch.condition, mask)
        empty = self.prepared.embedding("")
        negative = {key: value.to(self.base.device)[None] for key, value in empty.items()}
        latents = sample(
            self.base,
            batch.noise,
            batch.text(),
            negative,
            self.sampling,
            acting,
            batch.time_ids,
        )
        with self.base.autoencoder_on(self.base.device):
            return self.base.decode(latents).cpu()
