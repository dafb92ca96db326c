"""Regions: where a condition acts, and applying them to the conditioning."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from comfy.controlnet import ControlBase, T2IAdapter
from comfy_api.v0_0_2 import io
from torch import Tensor

from ..local_control.masks import (
    MaskResize,
    feather,
    from_comfy_image,
    from_comfy_mask,
    resize_mask,
)
from ..local_control.regions import Overlap, resolve_overlap
from .adapters import CATEGORY
from .hooks.adapter_control import AdapterControl, AdapterRegion, LoadedAdapter

Regions = io.Custom("LOCAL_REGIONS")


def parse_level_weights(text: str, levels: int) -> tuple[float, ...]:
    """'1, 0.5, 1, 1' -> one number a level; ValueError says what is expected."""
    try:
        weights = tuple(float(part) for part in text.replace(",", " ").split())
    except ValueError:
        weights = ()
    if len(weights) != levels:
        raise ValueError(
            f"level_weights is {text!r}, but it must be {levels} numbers, one for each level from "
            f"fine to coarse, such as {', '.join(['1'] * levels)}."
        )
    return weights


def to_adapter(control: ControlBase, regions: Sequence[AdapterRegion]) -> LoadedAdapter:
    """The adapter behind a CONTROL_NET, shared with earlier regions; ValueError for other kinds."""
    if isinstance(control, AdapterControl):
        return control.adapter
    if isinstance(control, T2IAdapter):
        known = (r.adapter for r in regions if r.adapter.source is control.t2i_model)
        return next(known, None) or LoadedAdapter.from_core(control)
    raise ValueError(
        f"A region takes a T2I-Adapter, but this control is a {type(control).__name__}; load one "
        f"with Load Local Adapter or Load ControlNet Model."
    )


def check_frame(image: Tensor, mask: Tensor) -> None:
    """Both must cover the same frame; raises ValueError otherwise."""
    if image.shape[-2:] != mask.shape[-2:]:
        raise ValueError(
            f"The mask is {mask.shape[-1]} x {mask.shape[-2]}, but the condition image is "
            f"{image.shape[-1]} x {image.shape[-2]}; scale one to the size of the other, so that "
            f"they cover the same frame."
        )


class Region(io.ComfyNode):
    """Control, condition and mask -> one more region of a list."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Chain `regions` to put several in one list."""
        return io.Schema(
            node_id="LocalControl_Region",
            display_name="Local Control Region",
            category=CATEGORY,
            description="Where a condition controls the image: white in the mask.",
            inputs=[
                io.ControlNet.Input("control_net"),
                io.Image.Input("image", tooltip="The condition, over the whole frame."),
                io.Mask.Input("mask", tooltip="White = controlled; as large as the condition."),
                io.Float.Input("strength", default=1.0, min=0.0, max=10.0, step=0.01),
                io.Float.Input("start_percent", default=0.0, min=0.0, max=1.0, step=0.001),
                io.Float.Input("end_percent", default=1.0, min=0.0, max=1.0, step=0.001),
                io.Int.Input(
                    "feather",
                    default=0,
                    min=0,
                    max=512,
                    tooltip="Pixels over which the control fades in from the region's border.",
                ),
                io.String.Input(
                    "level_weights",
                    default="1, 1, 1, 1",
                    tooltip="A factor for each level of features, from fine to coarse.",
                ),
                Regions.Input("regions", optional=True, tooltip="The regions before this one."),
            ],
            outputs=[Regions.Output(display_name="regions")],
        )

    @classmethod
    def execute(
        cls,
        control_net: ControlBase,
        image: Tensor,
        mask: Tensor,
        strength: float = 1.0,
        start_percent: float = 0.0,
        end_percent: float = 1.0,
        feather: int = 0,
        level_weights: str = "1, 1, 1, 1",
        regions: tuple[AdapterRegion, ...] = (),
    ) -> io.NodeOutput:
        """Check all that can be checked before sampling."""
        adapter = to_adapter(control_net, regions)
        condition, white = from_comfy_image(image), from_comfy_mask(mask)
        check_frame(condition, white)
        region = AdapterRegion(
            adapter,
            condition,
            soften(white, feather),
            strength,
            (start_percent, end_percent),
            parse_level_weights(level_weights, len(adapter.config.channels)),
        )
        return io.NodeOutput((*regions, region))


def soften(mask: Tensor, radius: int) -> Tensor:
    """Feather; ValueError if nothing white is left."""
    soft = feather(mask, radius)
    if soft.max() > 0:
        return soft
    if mask.max() > 0:
        raise ValueError(
            f"A feather of {radius} px leaves nothing of this region's mask; lower the feather or "
            f"widen the mask."
        )
    raise ValueError(
        "The mask of this region is all black, so it would control nothing; paint white where the "
        "condition should act."
    )


class Apply(io.ComfyNode):
    """Regions into the conditioning."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """As stock Apply ControlNet, for a list of regions."""
        return io.Schema(
            node_id="LocalControl_Apply",
            display_name="Apply Local Control",
            category=CATEGORY,
            description="Lets the regions control the image while it is sampled.",
            inputs=[
                io.Conditioning.Input("positive"),
                io.Conditioning.Input("negative"),
                Regions.Input("regions"),
                io.Combo.Input(
                    "overlap",
                    options=[rule.value for rule in Overlap],
                    default=Overlap.ADD.value,
                    tooltip="Where regions overlap: add both, share, or let the first hide later.",
                ),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="For controls that read latents; others ignore it.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive"),
                io.Conditioning.Output(display_name="negative"),
            ],
        )

    @classmethod
    def execute(
        cls,
        positive: list,
        negative: list,
        regions: tuple[AdapterRegion, ...],
        overlap: str,
        vae: object = None,
    ) -> io.NodeOutput:
        """One control object for positive and negative, so that ComfyUI batches them together."""
        control = AdapterControl(regions[0].adapter, resolve_masks(regions, Overlap(overlap)))
        chained: dict[object, ControlBase] = {}
        return io.NodeOutput(
            *([chain(entry, control, chained) for entry in cond] for cond in (positive, negative))
        )


def chain(entry: list, control: AdapterControl, chained: dict[object, ControlBase]) -> list:
    """A conditioning entry with `control` after the one it already had."""
    embedding, options = entry
    previous = options.get("control")
    if previous not in chained:
        chained[previous] = control.copy().set_previous_controlnet(previous)
    return [embedding, {**options, "control": chained[previous], "control_apply_to_uncond": False}]


def resolve_masks(regions: tuple[AdapterRegion, ...], rule: Overlap) -> list[AdapterRegion]:
    """The regions with the masks that act under an overlap rule."""
    if rule is Overlap.ADD or len(regions) == 1:
        return list(regions)
    height = max(r.mask.shape[-2] for r in regions)
    width = max(r.mask.shape[-1] for r in regions)
    batch = max(len(r.mask) for r in regions)
    masks = torch.stack(
        [
            resize_mask(r.mask, (height, width), MaskResize.AREA).expand(batch, -1, -1, -1)
            for r in regions
        ]
    )
    return [replace(r, mask=m) for r, m in zip(regions, resolve_overlap(masks, rule), strict=True)]
