"""z0' as a picture: latents decoded or estimated, regions and errors drawn into it."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..local_control.curves import GREEN, RED, EdgeCurve
from .drawing import draw_outline, draw_words
from .hooks.frame import LATENT_FACTOR
from .hooks.overlay import place_mask
from .regions import AnyRegion

Decoder = Callable[[Tensor], Tensor]


def latent_to_rgb(x0: Tensor, latent_format: Any) -> Tensor:
    """x0 [B,C,h,w] in model space -> [B,h,w,3] in 0..1 by the latent format's linear colours.

    Of a video [B,C,T,h,w] the first frame. Formats that pack pixels into channels come out larger.
    """
    factors = getattr(latent_format, "latent_rgb_factors", None)
    bias = getattr(latent_format, "latent_rgb_factors_bias", None)
    unpack = getattr(latent_format, "latent_rgb_factors_reshape", None)
    if factors is not None and unpack is not None:
        x0 = unpack(x0)
    if x0.ndim == 5:
        x0 = x0[:, :, 0]
    if factors is None:
        rgb = x0[:, [min(c, x0.shape[1] - 1) for c in range(3)]].movedim(1, -1)
    else:
        rgb = x0.movedim(1, -1) @ torch.tensor(factors)
        if bias is not None:
            rgb = rgb + torch.tensor(bias)
    return rgb.add(1).div(2).clamp(0, 1)


def estimate(latent_format: Any) -> Decoder:
    """Latents in model space -> pictures [B,H,W,3] by the latent format's linear colours."""

    def decode(latent: Tensor) -> Tensor:
        rgb = latent_to_rgb(latent, latent_format)
        return rgb.repeat_interleave(LATENT_FACTOR, 1).repeat_interleave(LATENT_FACTOR, 2)

    return decode


def decoder(vae: Any, latent_format: Any) -> Decoder:
    """The same by a VAE: a copy of it on the CPU, so that no model in use is moved."""
    network = copy.deepcopy(vae.first_stage_model).float().cpu()

    @torch.inference_mode()
    def decode(latent: Tensor) -> Tensor:
        latent = latent_format.process_out(latent)
        if latent.ndim == 5:  # video: its first frame alone
            latent = latent[:, :, :1]
        pictures = vae.process_output(network.decode(latent).float())
        if pictures.ndim == 5:
            pictures = pictures[:, :, 0]
        return pictures.movedim(1, -1)

    return decode


def to_picture(pictures: Tensor, regions: Sequence[AnyRegion], latent: Tensor) -> Image.Image:
    """Pictures [B,H,W,3] of `latent` side by side, each with the regions' outlines in it."""
    masks = [outline_masks(region, latent, pictures) for region in regions]
    views = []
    for i, picture in enumerate(pictures):
        view = (picture.clamp(0, 1) * 255).round().byte().cpu().numpy().copy()
        for index, mask in enumerate(masks):
            draw_outline(view, mask[min(i, len(mask) - 1), 0].numpy(), index, 1)
        views.append(view)
    return Image.fromarray(np.concatenate(views, axis=1))


def outline_masks(region: AnyRegion, latent: Tensor, pictures: Tensor) -> Tensor:
    """A region's masks [1 or B,1,H,W] as large as the pictures; of a video that of its first frame.

    One serves all pictures, or each has its own.
    """
    size = (pictures.shape[1], pictures.shape[2])
    if region.mask is None:
        return torch.ones(1, 1, *size)
    placed = place_mask(region.mask, latent)
    if latent.ndim == 5 and len(placed) > 1:
        placed = placed[:: latent.shape[2]]
    return F.interpolate(placed, size, mode="area")


def write_errors(picture: Image.Image, curve: EdgeCurve) -> Image.Image:
    """The picture with the edge errors of its step in its corner; a side that is not has none."""
    canvas = np.asarray(picture).copy()
    sides = (("in", curve.inside[-1], GREEN), ("out", curve.outside[-1], RED))
    draw_words(canvas, [(f"{name} {v:.3g}", colour) for name, v, colour in sides if v == v])
    return Image.fromarray(canvas)
