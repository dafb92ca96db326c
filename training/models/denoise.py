"""Controlled noise predictions through diffusers, as the nodes make them through ComfyUI."""

from typing import Any

import torch
from torch import Tensor

from local_control.losses import Denoising
from local_control.z0 import PredictionType

from .bases import Base
from .batch import Batch
from .controls import Acting, Control


def predict(
    unet: Any,  # UNet2DConditionModel, compiled or not
    z_t: Tensor,
    timestep: Tensor,
    context: Tensor,
    acting: Acting | None = None,
    added: dict[str, Tensor] | None = None,
) -> Tensor:
    """Return the UNet's prediction [B,C,h,w] for noisy latents [B,C,h,w] at timesteps [B].

    context [B,T,D]: the text's. acting: control, if there is any. added: SDXL's pooled text and
    time ids.
    """
    controlled = {} if acting is None else acting(z_t, timestep, context, added)
    return unet(
        z_t, timestep, encoder_hidden_states=context, added_cond_kwargs=added, **controlled
    ).sample


def drawn_alpha_bar(base: Base, sampling: str, draws: int = 10_000) -> Tensor:
    """Return alpha_bar [draws] of timesteps that are spread as training draws them."""
    u = (torch.arange(draws) + 0.5) / draws
    return base.alphas_cumprod.cpu()[timesteps(u, len(base.alphas_cumprod), sampling)]


def timesteps(u: Tensor, total: int, sampling: str) -> Tensor:
    """Return timesteps [B] in 0..total-1 of draws u [B] in 0..1.

    sampling: uniform, or cubic, which prefers noisy ones: t = (1 - u^3) T (T2I-Adapter,
    arXiv 2302.08453).
    """
    if sampling == "cubic":
        u = 1 - u**3
    return (u * total).long().clamp(max=total - 1)


def denoise_at(
    base: Base,
    control: Control,
    batch: Batch,
    timestep: Tensor,
    gated: bool,
    dtype: torch.dtype | None = None,
    with_free: bool = False,
) -> Denoising:
    """Return the prediction for a batch that is noised to `timestep` [B].

    A perturbation is seen by the model alone: target and z_t, of which z0' is made, are without it.
    gated: control is masked. dtype: that of mixed precision. with_free: predict without control
    as well, for half as much time again.
    """
    alpha_bar = base.alphas_cumprod.to(timestep.device)[timestep]
    a = alpha_bar.view(-1, 1, 1, 1)
    z_t = a.sqrt() * batch.z0 + (1 - a).sqrt() * batch.noise
    seen = z_t if batch.perturbation is None else z_t + (1 - a).sqrt() * batch.perturbation
    mask = batch.mask if gated else None
    with torch.autocast(timestep.device.type, dtype, enabled=dtype is not None):
        acting = control.on(batch.condition, mask)
        output = predict(base.unet, seen, timestep, batch.context, acting, batch.added())
        free = None
        if with_free:
            with torch.no_grad():
                free = predict(base.unet, seen, timestep, batch.context, None, batch.added())
    velocity = a.sqrt() * batch.noise - (1 - a).sqrt() * batch.z0
    target = velocity if base.kind is PredictionType.V else batch.noise
    return Denoising(
        output, target, z_t, batch.z0, alpha_bar, timestep, batch.mask, base.kind, free
    )
