"""Edge guidance in ComfyUI's sampler: after classifier-free guidance z0' is moved, then goes on."""

from dataclasses import dataclass
from typing import Any

import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...local_control.guidance import step_towards_edges
from ...local_control.masks import match_batch
from .frame import LATENT_FACTOR


@dataclass(frozen=True)
class Guidance:
    """reference [1 or B,C,(T),h,w] as LATENT sockets hold it, mask [1 or B,1,H,W] in 0..1."""

    reference: Tensor
    mask: Tensor
    scale: float
    percent_range: tuple[float, float]
    edge: str


def guide_edges(model: ModelPatcher, guidance: Guidance) -> ModelPatcher:
    """A clone of `model` with the guidance.

    Raises:
        ValueError: while sampling, if reference or mask do not fit the latent.
    """
    model = model.clone()
    sampling = model.get_model_object("model_sampling")
    start, end = (float(sampling.percent_to_sigma(p)) for p in guidance.percent_range)
    reference = model.model.latent_format.process_in(guidance.reference)

    placed: dict[tuple[object, ...], tuple[Tensor, Tensor]] = {}

    def move(args: dict[str, Any]) -> Tensor:
        z0, sigma = args["denoised"], float(args["sigma"].max())
        if not guidance.scale or not end <= sigma <= start:
            return z0
        key = (tuple(z0.shape), z0.device)
        if key not in placed:  # the same at every step
            placed.clear()
            placed[key] = _fit(reference, z0), _over(guidance.mask, z0)
        fitting, mask = placed[key]
        match_batch(mask, len(z0))
        if z0.ndim == 5:  # frames of a video are steered one by one
            frames = z0.shape[2]
            flat = [x.movedim(2, 1).flatten(0, 1) for x in (z0, fitting.expand_as(z0))]
            mask = mask.repeat_interleave(frames, 0) if len(mask) > 1 else mask
            moved = step_towards_edges(*flat, mask, guidance.edge, guidance.scale)
            return moved.unflatten(0, (len(z0), frames)).movedim(1, 2).to(z0)
        return step_towards_edges(z0, fitting, mask, guidance.edge, guidance.scale).to(z0)

    model.set_model_sampler_post_cfg_function(move)
    return model


def _fit(reference: Tensor, z0: Tensor) -> Tensor:
    """The reference for a batch of latents."""
    if reference.shape[1:] != z0.shape[1:] or len(reference) not in (1, len(z0)):
        raise ValueError(
            f"The reference of Edge Guidance has the shape {tuple(reference.shape)}, but the "
            f"latent {tuple(z0.shape)}; encode a picture of the result's size with this model's "
            f"VAE."
        )
    return reference.to(device=z0.device, dtype=torch.float32).expand_as(z0)


def _over(mask: Tensor, z0: Tensor) -> Tensor:
    """The mask over the frame of a latent, where it is."""
    width, height = (side * LATENT_FACTOR for side in (z0.shape[-1], z0.shape[-2]))
    return comfy.utils.common_upscale(mask, width, height, "area", "center").to(z0.device)
