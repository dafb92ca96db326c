"""Validation on held-out pictures: the loss at fixed noise levels, and sampled pictures."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from local_control.adapter import Adapter

from ..cached.prepare import Cache, Part
from ..config.run import TrainSettings
from ..data.masks import mask_shares, own_masks, random_mask
from ..evaluation.measures import edge_panel, quick_measures, sheet, tinted
from ..models.bases import Base
from ..models.denoise import control_features, denoise_at
from ..models.sample import Sampling, sample
from .examples import Batch, collate
from .plan import VALIDATION, generator

MAX_SAMPLES = 32
# In place of the default mixture; empty masks say nothing about control.
_SHARES = {"box": 0.25, "ellipse": 0.15, "brush": 0.1, "object_box": 0.4, "full": 0.1}


def shown_shares(settings: TrainSettings) -> Mapping[str, float]:
    """The shapes of the run's masks, without empty ones."""
    if settings.mask_source in ("mixed", "random") and not settings.mask_shares:
        return _SHARES
    shares = mask_shares(settings.mask_source, settings.mask_shares)
    masked = {kind: share for kind, share in shares.items() if kind != "empty" and share > 0}
    return masked or mask_shares("full", {})


@dataclass
class Validation:
    """Fixed held-out examples: the same pictures, masks, noise and timesteps at every call."""

    base: Base
    part: Part
    cache: Cache
    settings: TrainSettings
    dtype: torch.dtype | None = None

    @cached_property
    def examples(self) -> list[Batch]:
        """Up to `MAX_SAMPLES` examples, one a batch since their sizes may differ."""
        return [self._example(index) for index in range(min(MAX_SAMPLES, len(self.part.data)))]

    def _example(self, index: int) -> Batch:
        rng = generator(VALIDATION, index)
        prepared = self.cache.example(self.part, index, 0)
        size = (prepared.condition.shape[-2], prepared.condition.shape[-1])
        objects = own_masks(self.settings.mask_source, prepared.masks)
        mask = random_mask(size, rng, objects, shown_shares(self.settings))
        noise = rng.standard_normal(prepared.latent.shape, "float32")
        condition = prepared.condition
        if rng.random() < self.settings.masked_condition_share:  # as in training
            condition = condition * torch.from_numpy(mask)
        entry = {
            "z0": prepared.latent,
            "noise": torch.from_numpy(noise),
            "u": torch.tensor(0.0),
            "condition": condition,
            "mask": torch.from_numpy(mask)[None],
            "time_ids": prepared.time_ids,
        }
        caption = self.part.data[index].caption
        return collate([entry | self.cache.text(caption)]).to(self.base.device)

    @torch.no_grad()
    def losses(self, adapter: Adapter) -> dict[str, float]:
        """Each term's mean over pictures and timesteps, their sum, and the sum at each t."""
        objective = self.settings.loss()
        times = torch.tensor(self.settings.validation_timesteps, device=self.base.device)
        sums: dict[str, Tensor] = {}
        for batch in self.examples:
            repeated = batch.repeat(len(times))
            found = denoise_at(self.base, adapter, repeated, times, self.settings, self.dtype)
            for name, values in objective.terms(found).items():
                sums[name] = sums.get(name, torch.zeros_like(values)) + values / len(self.examples)
        total = torch.stack(list(sums.values())).sum(0)
        out = {name: values.mean().item() for name, values in sums.items()}
        out["loss"] = total.mean().item()
        at_times = zip(times.tolist(), total.tolist(), strict=True)
        return out | {f"loss at t={t}": value for t, value in at_times}

    @torch.no_grad()
    def pictures(self, adapter: Adapter, path: Path) -> dict[str, float]:
        """Sample some of the examples, write a sheet to `path`, -> mean adherence and leak.

        The sheet's columns: what the model sees, no control, with control, its edges inside the
        mask (green) and outside (red).
        """
        rows, found = [], []
        condition = self.settings.made_condition()
        for batch, source, free in self._free:
            image = self._sample(batch, adapter)
            mask = batch.mask.cpu()
            found.append(quick_measures(image, free, source, mask, condition))
            seen = tinted(source[0], batch.condition[0].cpu(), mask[0])
            rows.append([seen, free[0], image[0], edge_panel(image[0], mask[0], condition)])
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sheet(rows)).save(path)
        joined = {key: torch.cat([measured[key] for measured in found]) for key in found[0]}
        # A full mask has no outside, and so no leak.
        return {k: v.nanmean().item() for k, v in joined.items() if not v.isnan().all()}

    @cached_property
    def _free(self) -> list[tuple[Batch, Tensor, Tensor]]:
        """The examples to sample, their pictures and what the base makes without control."""
        size = self.examples[0].z0.shape
        chosen = [batch for batch in self.examples if batch.z0.shape == size]
        chosen = chosen[: self.settings.num_validation_images]
        with self.base.autoencoder_on(self.base.device):
            sources = [self.base.decode(batch.z0).cpu() for batch in chosen]
        return [
            (batch, source, self._sample(batch, None))
            for batch, source in zip(chosen, sources, strict=True)
        ]

    def _sample(self, batch: Batch, adapter: Adapter | None) -> Tensor:
        options = Sampling(
            self.settings.num_inference_steps, self.settings.guidance_scale, self.dtype
        )
        features = None
        if adapter is not None:
            mask = batch.mask if self.settings.mask_features else None
            features = control_features(adapter, batch.condition, mask)
        negative = {
            key: value.to(self.base.device)[None] for key, value in self.cache.text("").items()
        }
        latents = sample(
            self.base, batch.noise, batch.text(), negative, options, features, batch.time_ids
        )
        with self.base.autoencoder_on(self.base.device):
            return self.base.decode(latents).cpu()
