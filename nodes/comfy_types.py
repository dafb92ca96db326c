"""ComfyUI's types at the nodes' boundary: our own, and IMAGE, MASK and LATENT as tensors and back.

Other packs, and ComfyUI under --fp16-intermediates or --gpu-only, hand over any float type on any
device. Here all become fp32 on the CPU, so that no node sees anything else.
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from comfy_api.v0_0_2 import io
from torch import Tensor

CATEGORY = "local control"
Regions = io.Custom("LOCAL_REGIONS")
Trace = io.Custom("Z0_TRACE")


_CPU = "cpu"


# The schema's arguments are passed through, since they differ between versions of ComfyUI.
def make_schema(aliases: Sequence[str], **arguments: Any) -> io.Schema:
    """Return a node's schema with the words that people search it by, where ComfyUI takes them."""
    if any(field.name == "search_aliases" for field in fields(io.Schema)):
        arguments["search_aliases"] = list(aliases)
    return io.Schema(**arguments)


def telling(spec: Any, **more: Any) -> Any:
    """Return an input with more for the frontend than its class takes in every ComfyUI."""
    spec.extra_dict = {**spec.extra_dict, **more}
    return spec


def advanced(spec: Any) -> Any:
    """Return an input that the frontend shows only when it is asked for more."""
    return telling(spec, advanced=True)


def from_comfy_image(image: Tensor) -> Tensor:
    """Return the pictures of an IMAGE, fp32 on the CPU, RGB without alpha.

    [B,H,W,1, 3 or 4] -> [B,3,H,W]
    """
    rgb = image[..., :3].movedim(-1, 1)  # BHWC -> BCHW
    return rgb.float().to(_CPU).expand(-1, 3, -1, -1)


def to_comfy_image(image: Tensor) -> Tensor:
    """Return the IMAGE of pictures: [B,1 or 3,H,W] -> [B,H,W,3]."""
    return image.expand(-1, 3, -1, -1).movedim(1, -1)  # BCHW -> BHWC


def from_comfy_mask(mask: Tensor) -> Tensor:
    """Return the masks of a MASK, fp32 in 0..1 on the CPU; packs have several layouts.

    [H,W], [B,H,W], [B,1,H,W] or [B,H,W,1] -> [B,1,H,W]
    """
    if mask.ndim == 4 and mask.shape[1] != 1:
        mask = mask.movedim(-1, 1)  # BHW1 -> B1HW
    return mask.reshape(-1, 1, *mask.shape[-2:]).float().to(_CPU).clamp(0, 1)


def from_comfy_latent(latent: dict[str, Any]) -> Tensor:
    """Return the samples [B,C,(T),h,w] of a LATENT, fp32 on the CPU; of several the first."""
    return first_samples(latent).float().to(_CPU)


def first_samples(latent: dict[str, Any]) -> Tensor:
    """Return the samples of a LATENT as they are; of several (pictures and sound) the first."""
    samples = latent["samples"]
    return samples.unbind()[0] if getattr(samples, "is_nested", False) else samples
