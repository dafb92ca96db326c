"""Sampling under local control through diffusers: DDIM with classifier-free guidance."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from local_control.gating import blend_predictions
from local_control.masks import mask_on_grid

from .bases import Base
from .controls import Acting
from .denoise import predict

ActsOn = Literal["both", "positive"]


@dataclass(frozen=True)
class Sampling:
    """How to sample."""

    steps: int = 20
    guidance: float = 5.0
    mixed_precision: torch.dtype | None = None

    def guided(self, output: Tensor) -> Tensor:
        """Return the guided prediction [B,C,h,w] of those for the negative and the prompt [2B]."""
        free, prompted = output.chunk(2)
        return free + self.guidance * (prompted - free)


@dataclass
class StepChanges:
    """How much control changes the guided prediction on the same latent, added up over steps.

    mask [B,1,H,W] in 0..1 at any size; inside and outside [B]: mean absolute changes.
    """

    mask: Tensor
    inside: Tensor = field(default_factory=lambda: torch.zeros(()))
    outside: Tensor = field(default_factory=lambda: torch.zeros(()))

    def add(self, with_control: Tensor, without: Tensor) -> None:
        """Note one step's predictions [B,C,h,w]."""
        where = mask_on_grid(self.mask, (without.shape[-2], without.shape[-1]))
        change = (with_control - without).abs().mean(1, keepdim=True)
        self.inside = self.inside + _over(change, where)
        self.outside = self.outside + _over(change, 1 - where)

    @property
    def leak(self) -> Tensor:
        """Return change outside over change inside [B]; NaN where nothing changes."""
        return self.outside / self.inside


def _over(values: Tensor, where: Tensor) -> Tensor:
    return (values * where).sum((1, 2, 3)) / where.sum((1, 2, 3))


@torch.no_grad()
def sample(
    base: Base,
    noise: Tensor,
    text: Mapping[str, Tensor],
    negative: Mapping[str, Tensor],
    options: Sampling,
    acting: Acting | None = None,
    time_ids: Tensor | None = None,
    *,
    acts_on: ActsOn = "both",
    blend: Tensor | None = None,
    changes: StepChanges | None = None,
) -> Tensor:
    """Return clean latents [B,C,h,w] for noise [B,C,h,w] under texts as `Base.encode_text` gives.

    acting: control of B samples or one; it acts on the predictions for both texts, as ComfyUI's
    does, or on that for the positive one alone. blend [B,1,H,W] in 0..1 at any size: predictions
    with control act where it is 1, those without elsewhere, which costs one more prediction of each
    text that is controlled. changes: is told of each step's, at the same cost.
    """
    scheduler: Any = DDIMScheduler.from_config(base.pipeline.scheduler.config, clip_sample=False)
    scheduler.set_timesteps(options.steps, device=noise.device)
    both = {key: torch.cat([negative[key].expand_as(text[key]), text[key]]) for key in text}
    added = None
    if time_ids is not None and "pooled" in both:
        added = {"text_embeds": both["pooled"], "time_ids": torch.cat([time_ids, time_ids])}
    latents = noise * scheduler.init_noise_sigma
    amp = torch.autocast(
        noise.device.type, options.mixed_precision, enabled=options.mixed_precision is not None
    )
    everything, of_negative, of_positive = slice(None), slice(len(noise)), slice(len(noise), None)

    def predicted(part: slice, t: Tensor, acting: Acting | None) -> Tensor:
        z_t = torch.cat([latents, latents])[part]
        own = None if added is None else {key: value[part] for key, value in added.items()}
        with amp:
            context = both["context"][part]
            return predict(base.unet, z_t, t.expand(len(z_t)), context, acting, own).float()

    def controlled(t: Tensor, without: Tensor | None) -> Tensor:
        if acts_on == "both":
            return predicted(everything, t, acting)
        free = predicted(of_negative, t, None) if without is None else without[of_negative]
        return torch.cat([free, predicted(of_positive, t, acting)])

    for timestep in scheduler.timesteps:
        if acting is None:
            output = predicted(everything, timestep, None)
        else:
            free = blend is not None or changes is not None
            without = predicted(everything, timestep, None) if free else None
            output = controlled(timestep, without)
            if without is not None and blend is not None:
                output = blend_predictions(output, without, torch.cat([blend, blend]))
            if without is not None and changes is not None:
                changes.add(options.guided(output), options.guided(without))
        output = options.guided(output)
        latents = scheduler.step(output, int(timestep), latents).prev_sample
    return latents
