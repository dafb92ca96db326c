"""Latents as pictures: their colours estimated, or decoded by a VAE beside the sampling."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..sampler.control.view import pixels_per_cell
from .copying import copy_to_cpu

# Latents to a picture for each.
Decoder = Callable[[Tensor], list[Image.Image]]


def latent_to_rgb(x0: Tensor, latent_format: Any) -> Tensor:
    """Return x0 [B,C,h,w] of model space in the format's linear colours, [B,h,w,3] in 0..1.

    Of a video [B,C,T,h,w] the first frame. Formats that pack pixels into channels come out larger.
    Latents without colours show their first channels.

    By numpy, which stays on its thread: torch would start others, and they would hold up the
    sampling on machines that sample on the CPU.
    """
    factors = getattr(latent_format, "latent_rgb_factors", None)
    bias = getattr(latent_format, "latent_rgb_factors_bias", None)
    unpack = getattr(latent_format, "latent_rgb_factors_reshape", None)
    if factors is not None and unpack is not None:
        x0 = unpack(x0)
    if x0.ndim == 5:
        x0 = x0[:, :, 0]
    values = x0.numpy()
    if factors is None or len(factors) != values.shape[1]:
        rgb = np.moveaxis(values[:, [min(c, x0.shape[1] - 1) for c in range(3)]], 1, -1)
    else:
        rgb = np.einsum("bchw,ck->bhwk", values, np.array(factors, np.float32))
        if bias is not None:
            rgb = rgb + np.array(bias, np.float32)
    return torch.from_numpy(np.clip((rgb + 1) / 2, 0, 1))


def estimate_images(x0: Tensor, latent_format: Any) -> Tensor:
    """Return x0 [B,C,h,w] of model space as an IMAGE [B,H,W,3], as large as decoded."""
    rgb = latent_to_rgb(x0, latent_format)
    cell = pixels_per_cell(latent_format) * x0.shape[-2] // rgb.shape[1]
    return rgb.repeat_interleave(cell, 1).repeat_interleave(cell, 2)


def estimate(latent_format: Any) -> Decoder:
    """Return a picture for each latent of model space, by its format's linear colours."""
    cell = pixels_per_cell(latent_format)

    def decode(latent: Tensor) -> list[Image.Image]:
        size = (cell * latent.shape[-1], cell * latent.shape[-2])
        small = to_views(latent_to_rgb(latent, latent_format))
        return [view.resize(size, Image.Resampling.NEAREST) for view in small]

    return decode


def decoder(vae: Any, latent_format: Any) -> Decoder:
    """Return what does the same by a VAE: a copy on the CPU, so that no model is moved.

    It is made for the first picture, on the thread that draws.
    """

    @cache
    def network() -> Any:
        return copy_to_cpu(vae.first_stage_model)

    @torch.inference_mode()
    def decode(latent: Tensor) -> list[Image.Image]:
        latent = latent_format.process_out(latent)
        if latent.ndim == 5:  # video: its first frame alone
            latent = latent[:, :, 0] if vae.latent_dim == 2 else latent[:, :, :1]
        pictures = vae.process_output(network().decode(latent).float())
        if pictures.ndim == 5:
            pictures = pictures[:, :, 0]
        return to_views(pictures.movedim(1, -1))

    return decode


def to_views(pictures: Tensor) -> list[Image.Image]:
    """Return a picture for each of [B,H,W,3] in 0..1."""
    values = np.rint(np.clip(pictures.numpy(), 0, 1) * 255).astype(np.uint8)
    return [Image.fromarray(value) for value in values]
