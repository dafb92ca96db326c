"""What comes into nodes, checked against their schemas: one sentence for what cannot be used.

Links bring what no widget would: None from muted nodes and empty switches, empty batches, values of
another range or type. ComfyUI checks some of it, in some versions.
"""

import functools
import inspect
import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from comfy.controlnet import ControlBase
from comfy_api.v0_0_2 import io
from torch import Tensor

from .comfy_types import first_samples, from_comfy_latent
from .sampler.control.region import Region
from .sampler.z0.trace import Z0Trace

_CHANNELS = (1, 3, 4)
_LONGEST = 64  # times the shorter side; ComfyUI's own scaling has nothing left of longer ones
_LARGEST_LATENT = 1e6  # those of autoencoders lie within some hundreds
_BRIGHTEST = 100.0  # pictures lie in 0..1, and those of high dynamic range a little beyond
_SHOWN = 60
# What a sampler has returned may hold NaN: the nodes that take it show how it came to that.
_RESULTS = ("latent",)


def checked(execute: Callable[..., io.NodeOutput]) -> Callable[..., io.NodeOutput]:
    """Return a node's `execute` with its inputs checked: decorate it below `@classmethod`.

    What is optional and None counts as not connected; the rest arrives as the schema says.

    Raises:
        ValueError: an input cannot be used; one sentence names it, what it is and what to do.
    """
    signature = inspect.signature(execute)

    @functools.wraps(execute)
    def run(cls: type[io.ComfyNode], *args: Any, **kwargs: Any) -> io.NodeOutput:
        given = signature.bind_partial(cls, *args, **kwargs).arguments
        schema = cls.define_schema()
        for spec in schema.inputs:
            has_default = signature.parameters[spec.id].default is not inspect.Parameter.empty
            value = given.get(spec.id)
            if value is None and (spec.optional or (has_default and spec.id not in given)):
                given.pop(spec.id, None)
            else:
                given[spec.id] = _check(spec, value, f"The {spec.id} of {schema.display_name}")
        return execute(**given)

    return run


def _check(spec: Any, value: Any, name: str) -> Any:
    """Return an input's value as its type wants it; `name`: the subject of what is raised."""
    if value is None:
        raise ValueError(
            f"{name} is missing: what is connected there gave nothing, as muted nodes and empty "
            f"switches do; connect something else, or unmute it."
        )
    kind = str(spec.get_io_type())
    if spec.extra_dict.get("rawLink"):  # the link itself, for a node that becomes a graph
        return _link(value, name)
    if kind in ("INT", "FLOAT"):
        return _number(spec, value, name, is_whole=kind == "INT")
    if kind == "COMBO":
        return _option(spec, value, name)
    known = _KINDS.get(kind)
    if known is None:
        return value
    if not known.holds(value):
        raise ValueError(
            f"{name} is {_show(value)}, but it must be {known.noun}; connect a node that gives "
            f"that, such as {known.source}."
        )
    known.check(value, name)
    if kind == "LATENT" and spec.id not in _RESULTS:
        low, high = _find_range(from_comfy_latent(value), name)
        if max(-low, high) > _LARGEST_LATENT:
            raise ValueError(
                f"{name} has values from {low:g} to {high:g}, which no autoencoder's latents have; "
                f"look for the node before this one that makes them."
            )
    return value


def _link(value: Any, name: str) -> list:
    """Return a link as prompts have it: the id of a node, and the place of one of its outputs."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[1], int):
        return value
    raise ValueError(
        f"{name} is {_show(value)}, but it must be a link to another node; connect one to it."
    )


def _number(spec: Any, value: Any, name: str, is_whole: bool) -> float:
    if (
        isinstance(value, numbers.Real)
        and math.isfinite(value)
        and spec.min <= value <= spec.max
        and (not is_whole or value == int(value))
    ):
        return int(value) if is_whole else float(value)
    raise ValueError(
        f"{name} is {_show(value)}, but it must be a {'whole ' if is_whole else ''}number from "
        f"{spec.min:g} to {spec.max:g}; set it in between."
    )


def _option(spec: Any, value: Any, name: str) -> str:
    if isinstance(value, str) and value in spec.options:
        return value
    known = ", ".join(spec.options) or "none that there are"
    raise ValueError(
        f"{name} is {_show(value)}, which is not among its options; choose one of: "
        f"{known if len(known) < 4 * _SHOWN else known[: 4 * _SHOWN] + ' ...'}."
    )


def _check_image(image: Tensor, name: str) -> None:
    if image.ndim != 4 or image.shape[-1] not in _CHANNELS:
        raise ValueError(
            f"{name} has the shape {tuple(image.shape)}, but a picture must have [batch, height, "
            f"width, channels] with 1, 3 or 4 channels; connect a node that gives such an image."
        )
    _check_numbers(image, name)
    check_sides(image.shape[1], image.shape[2], name)
    low, high = _find_range(image, name)
    if max(-low, high) > _BRIGHTEST:
        raise ValueError(
            f"{name} has values from {low:g} to {high:g}, but pictures lie between 0 and 1; scale "
            f"it to that first."
        )


def _check_mask(mask: Tensor, name: str) -> None:
    if mask.ndim not in (2, 3) and not (mask.ndim == 4 and 1 in (mask.shape[1], mask.shape[3])):
        raise ValueError(
            f"{name} has the shape {tuple(mask.shape)}, but a mask must have [height, width], "
            f"[batch, height, width] or one channel besides; connect a node that gives such a mask."
        )
    _check_numbers(mask, name)
    is_last = mask.ndim == 4 and mask.shape[1] != 1
    height, width = mask.shape[1:3] if is_last else mask.shape[-2:]
    check_sides(height, width, name)
    _find_range(mask, name)


def _check_latent(latent: dict[str, Any], name: str) -> None:
    _check_numbers(first_samples(latent), name)


def _check_numbers(tensor: Tensor, name: str) -> None:
    """Raise ValueError if there are none, or if they are of a type that has no fractions."""
    if not tensor.numel():
        raise ValueError(
            f"{name} is empty (its shape is {tuple(tensor.shape)}); connect a node that gives at "
            f"least one."
        )
    if not tensor.is_floating_point() and tensor.dtype != torch.bool:
        raise ValueError(
            f"{name} holds numbers of the type {str(tensor.dtype).removeprefix('torch.')}, but "
            f"ComfyUI has floats there, from 0 to 1 in pictures and masks; convert it first."
        )


def _find_range(tensor: Tensor, name: str) -> tuple[float, float]:
    """Return the least and the largest value; ValueError if one of all is none."""
    low, high = (value.item() for value in tensor.float().aminmax())
    if math.isfinite(low) and math.isfinite(high):
        return low, high
    raise ValueError(
        f"{name} has values that are no numbers (NaN or infinite), which would spoil the whole "
        f"picture; look for the node before this one that makes them."
    )


def check_sides(height: int, width: int, name: str) -> None:
    """Raise ValueError if a side is too long for the other one to be scaled."""
    if max(height, width) > _LONGEST * min(height, width):
        raise ValueError(
            f"{name} is {width} x {height}, and longer than {_LONGEST} to 1 nothing can be scaled "
            f"to cover another; crop it."
        )


def check_least(image: Tensor, least: int, name: str) -> None:
    """Raise ValueError if a side of an IMAGE [B,H,W,C] is shorter than `least` pixels."""
    height, width = image.shape[1:3]
    if min(height, width) < least:
        raise ValueError(
            f"{name} is {width} x {height}, but it must have {least} pixels or more along each "
            f"side; connect a larger picture."
        )


def _show(value: Any) -> str:
    """Return what a value is, in a few words."""
    if torch.is_tensor(value):
        return f"a tensor of the shape {tuple(value.shape)}"
    if isinstance(value, str | numbers.Number):
        return repr(value)[:_SHOWN]
    return f"a {type(value).__name__}"


def _is_latent(value: Any) -> bool:
    samples = value.get("samples") if isinstance(value, dict) else None
    return torch.is_tensor(samples) or getattr(samples, "is_nested", False)


def _is_vae(value: Any) -> bool:
    return hasattr(value, "encode") and not isinstance(value, str)


def _is_model(value: Any) -> bool:
    return hasattr(value, "clone") and hasattr(value, "model_options")


def _is_conditioning(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, list | tuple) and len(entry) == 2 and isinstance(entry[1], dict)
        for entry in value
    )


def _are_regions(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(one, Region) for one in value)


def _accept(value: Any, name: str) -> None:
    """Nothing more to check."""


@dataclass(frozen=True)
class _Kind:
    """noun, source: for the message; holds: whether a value is of this kind; check: what else."""

    noun: str
    source: str
    holds: Callable[[Any], bool]
    check: Callable[[Any, str], None] = _accept


_KINDS = {
    "IMAGE": _Kind("an image", "Load Image", torch.is_tensor, _check_image),
    "MASK": _Kind("a mask", "Load Image (as Mask)", torch.is_tensor, _check_mask),
    "LATENT": _Kind("a latent", "VAE Encode", _is_latent, _check_latent),
    "CONDITIONING": _Kind("a conditioning", "CLIP Text Encode (Prompt)", _is_conditioning),
    # Models and VAEs of other packs are known by what they can do, not by their class.
    "MODEL": _Kind("a model", "Load Checkpoint", _is_model),
    "VAE": _Kind("a VAE", "Load VAE", _is_vae),
    "CONTROL_NET": _Kind(
        "one of ComfyUI's controls",
        "Load Local Adapter or Load ControlNet Model",
        lambda value: isinstance(value, ControlBase),
    ),
    "LOCAL_REGIONS": _Kind("a list of regions", "Local Control Region", _are_regions),
    "Z0_TRACE": _Kind("a trace of z0'", "Preview z0'", lambda value: isinstance(value, Z0Trace)),
    "STRING": _Kind("text", "a text field", lambda value: isinstance(value, str)),
    "BOOLEAN": _Kind("yes or no", "a switch", lambda value: isinstance(value, bool)),
}
