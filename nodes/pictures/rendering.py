"""z0' as a picture: latents decoded or estimated, regions and errors drawn into it."""

import copy
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ...local_control.steering import EdgeCurve
from ..region import AnyRegion
from ..sampler.control.view import LATENT_FACTOR
from ..sampler.z0.overlay import place_mask
from .charts import GREEN, RED
from .drawing import draw_outline, draw_words

# Latents to a picture for each.
Decoder = Callable[[Tensor], list[Image.Image]]
# What is drawn, and an "L" image of where.
Outline = tuple[Image.Image, Image.Image]


def latent_to_rgb(x0: Tensor, latent_format: Any) -> Tensor:
    """x0 [B,C,h,w] in model space -> [B,h,w,3] in 0..1 by the latent format's linear colours.

    Of a video [B,C,T,h,w] the first frame. Formats that pack pixels into channels come out larger.
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
    if factors is None:
        rgb = np.moveaxis(values[:, [min(c, x0.shape[1] - 1) for c in range(3)]], 1, -1)
    else:
        rgb = np.einsum("bchw,ck->bhwk", values, np.array(factors, np.float32))
        if bias is not None:
            rgb = rgb + np.array(bias, np.float32)
    return torch.from_numpy(np.clip((rgb + 1) / 2, 0, 1))


def pixels_per_cell(latent_format: Any) -> int:
    """How much larger than estimated pictures decoded ones are."""
    return 1 if latent_format.latent_channels == 3 else LATENT_FACTOR  # 3: pixels themselves


def estimate_images(x0: Tensor, latent_format: Any) -> Tensor:
    """x0 [B,C,h,w] in model space -> IMAGE [B,H,W,3], as large as decoded."""
    cell = pixels_per_cell(latent_format)
    estimated = latent_to_rgb(x0, latent_format)
    return estimated.repeat_interleave(cell, 1).repeat_interleave(cell, 2)


def estimate(latent_format: Any) -> Decoder:
    """Latents in model space -> a picture for each by the latent format's linear colours."""
    cell = pixels_per_cell(latent_format)

    def decode(latent: Tensor) -> list[Image.Image]:
        small = _to_views(latent_to_rgb(latent, latent_format))
        size = (cell * small[0].width, cell * small[0].height)
        return [view.resize(size, Image.Resampling.NEAREST) for view in small]

    return decode


def decoder(vae: Any, latent_format: Any) -> Decoder:
    """The same by a VAE: a copy of it on the CPU, so that no model in use is moved.

    It is made for the first picture, on the thread that draws.
    """

    @cache
    def network() -> Any:
        return copy_to_cpu(vae.first_stage_model)

    @torch.inference_mode()
    def decode(latent: Tensor) -> list[Image.Image]:
        latent = latent_format.process_out(latent)
        if latent.ndim == 5:  # video: its first frame alone
            latent = latent[:, :, :1]
        pictures = vae.process_output(network().decode(latent).float())
        if pictures.ndim == 5:
            pictures = pictures[:, :, 0]
        return _to_views(pictures.movedim(1, -1))

    return decode


def copy_to_cpu(network: nn.Module) -> nn.Module:
    """A copy in fp32 on the CPU, without another one where the network is."""
    copied: dict[int, Any] = {}
    for tensor in (*network.parameters(), *network.buffers()):
        dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
        value = tensor.detach().to("cpu", dtype, copy=True)
        is_parameter = isinstance(tensor, nn.Parameter)
        copied[id(tensor)] = nn.Parameter(value, requires_grad=False) if is_parameter else value
    return copy.deepcopy(network, copied)


def _to_views(pictures: Tensor) -> list[Image.Image]:
    """[B,H,W,3] in 0..1 -> a picture for each."""
    values = np.rint(np.clip(pictures.numpy(), 0, 1) * 255).astype(np.uint8)
    return [Image.fromarray(value) for value in values]


class Renderer:
    """z0' [B,C,(T),h,w] -> its pictures side by side, each with the regions' outlines in it.

    One serves one sampling, whose latents share a shape: the outlines are drawn once.
    """

    def __init__(self, decode: Decoder, regions: Sequence[AnyRegion]) -> None:
        self._decode = decode
        self._regions = regions
        self._outlines: list[Outline] | None = None

    def __call__(self, latent: Tensor) -> Image.Image:
        """The picture of one step."""
        views = self._decode(latent)
        width, height = views[0].size
        if self._outlines is None:
            masks = [outline_masks(r, latent, (height, width)) for r in self._regions]
            self._outlines = [_outline(masks, i, (height, width)) for i in range(len(views))]
        row = Image.new("RGB", (width * len(views), height))
        for i, (view, (drawn, where)) in enumerate(zip(views, self._outlines, strict=True)):
            row.paste(view, (i * width, 0))
            row.paste(drawn, (i * width, 0), where)
        return row


def _outline(masks: Sequence[Tensor], index: int, size: tuple[int, int]) -> Outline:
    """The borders of all masks of one picture, and where they are."""
    canvas = np.zeros((*size, 3), np.uint8)
    for number, mask in enumerate(masks):
        draw_outline(canvas, mask[min(index, len(mask) - 1), 0].numpy(), number, 1)
    drawn = canvas.any(-1).astype(np.uint8) * 255
    return Image.fromarray(canvas), Image.fromarray(drawn)


def outline_masks(region: AnyRegion, latent: Tensor, size: tuple[int, int]) -> Tensor:
    """A region's masks [1 or B,1,H,W] of the pictures' size; of a video that of its first frame.

    One serves all pictures, or each has its own.
    """
    placed = place_mask(region.mask.white, latent, size)
    return placed[:: latent.shape[2]] if latent.ndim == 5 and len(placed) > 1 else placed


def write_errors(picture: Image.Image, curve: EdgeCurve) -> Image.Image:
    """The picture with the edge errors of its step in its corner; a side that is not has none."""
    canvas = np.asarray(picture).copy()
    sides = (("in", curve.inside[-1], GREEN), ("out", curve.outside[-1], RED))
    draw_words(canvas, [(f"{name} {v:.3g}", colour) for name, v, colour in sides if v == v])
    return Image.fromarray(canvas)
