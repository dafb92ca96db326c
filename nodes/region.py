"""Regions: where a condition acts, and applying them to the conditioning."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from comfy.controlnet import ControlBase, T2IAdapter
from comfy.hooks import HookGroup
from comfy.t2i_adapter.adapter import Adapter, Adapter_light
from comfy_api.v0_0_2 import io
from torch import Tensor

from ..local_control.overlap import Overlap, align_masks, resolve_overlap
from ..local_control.placement import Fit
from ..local_control.region_mask import RegionMask
from .comfy_types import CATEGORY, Regions, from_comfy_image, from_comfy_mask
from .inputs import checked
from .region_inputs import check_range, parse_curve, parse_level_weights, place_condition, soften
from .sampler.control.adapter import AdapterControl, AdapterRegion
from .sampler.control.any import GatedControl
from .sampler.control.any_region import ControlRegion
from .sampler.control.loaded import LoadedAdapter
from .sampler.control.prompts import keep_sides
from .sampler.control.view import view_hooks

AnyRegion = AdapterRegion | ControlRegion
# ComfyUI calls Cascade's controls adapters too; they are gated as any other control.
_ADAPTER_NETWORKS = (Adapter, Adapter_light)
_PROMPTS = ("positive", "negative")
_ACTS_ON = {"both": frozenset(_PROMPTS)} | {prompt: frozenset([prompt]) for prompt in _PROMPTS}


def to_adapter(control: ControlBase) -> LoadedAdapter | None:
    """The adapter behind a CONTROL_NET; None for other controls."""
    if isinstance(control, AdapterControl):
        return control.adapter
    if isinstance(control, T2IAdapter) and isinstance(control.t2i_model, _ADAPTER_NETWORKS):
        return LoadedAdapter.from_core(control)
    return None


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
                io.Combo.Input(
                    "fit",
                    options=[fit.value for fit in Fit],
                    default=Fit.FRAME.value,
                    optional=True,
                    tooltip="frame: the condition covers the whole frame. Others put it, at any "
                    "size, into the mask's bounds.",
                ),
                io.String.Input(
                    "strength_curve",
                    default="1",
                    optional=True,
                    tooltip="Factors of the strength, evenly spaced from start to end: '1, 0' "
                    "fades out.",
                ),
                io.Combo.Input(
                    "acts_on",
                    options=list(_ACTS_ON),
                    default="both",
                    optional=True,
                    tooltip="The predictions that are controlled: of both prompts, or of one.",
                ),
            ],
            outputs=[Regions.Output(display_name="regions")],
        )

    @classmethod
    @checked
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
        regions: tuple[AnyRegion, ...] = (),
        fit: str = "frame",
        strength_curve: str = "1",
        acts_on: str = "both",
    ) -> io.NodeOutput:
        """Check all that can be checked before sampling."""
        adapter = to_adapter(control_net)
        white = from_comfy_mask(mask)
        soft = soften(white, feather)
        count = None if adapter is None else len(adapter.config.channels)
        number = len(regions) + 1
        common: dict[str, Any] = {
            "condition": place_condition(from_comfy_image(image), white, Fit(fit), number),
            "mask": RegionMask(soft),
            "strength": strength,
            "percent_range": check_range(start_percent, end_percent, f"region {number}"),
            "curve": parse_curve(strength_curve),
            "level_weights": parse_level_weights(level_weights, count),
            "acts_on": _ACTS_ON[acts_on],
            "number": number,
        }
        if adapter is not None:
            return io.NodeOutput((*regions, AdapterRegion(adapter=adapter, **common)))
        return io.NodeOutput((*regions, ControlRegion(control=control_net, **common)))


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
    @checked
    def execute(
        cls,
        positive: list,
        negative: list,
        regions: tuple[AnyRegion, ...],
        overlap: str,
        vae: object = None,
    ) -> io.NodeOutput:
        """The same control objects for both if all act on both, so that ComfyUI batches them."""
        acting = resolve_masks(regions, Overlap(overlap))
        sides = [[r for r in acting if prompt in r.acts_on] for prompt in _PROMPTS]
        controls = [build_controls(side, vae) for side in sides]
        alike = len(sides[0]) == len(sides[1]) == len(acting)
        if alike:
            controls[1] = controls[0]
        hooks = view_hooks() if alike else view_hooks(keep_sides)
        chained: dict[object, ControlBase] = {}
        return io.NodeOutput(
            *(
                [chain(entry, own, hooks, chained) for entry in cond]
                for cond, own in zip((positive, negative), controls, strict=True)
            )
        )


def build_controls(regions: Sequence[AnyRegion], vae: object) -> list[ControlBase]:
    """One control for all adapters, whose features add up, and one for each of the others.

    Raises:
        ValueError: a control reads latents and there is no VAE.
    """
    adapters = [region for region in regions if isinstance(region, AdapterRegion)]
    others = [region for region in regions if isinstance(region, ControlRegion)]
    for region in others:
        if region.control.latent_format is not None and vae is None:
            raise ValueError(
                f"The control of region {region.number} reads latents, not pictures, so it needs a "
                f"VAE; connect the model's VAE to Apply Local Control."
            )
    controls: list[ControlBase] = [GatedControl(replace(region, vae=vae)) for region in others]
    if adapters:
        controls.insert(0, AdapterControl(adapters[0].adapter, adapters))
    return controls


def chain(
    entry: list, controls: Sequence[ControlBase], hooks: HookGroup, chained: dict[object, Any]
) -> list:
    """A conditioning entry with `controls` after the one it already had; with none, as it is.

    chained: the last controls that were made so; entries alike share them.
    """
    if not controls:
        return entry
    embedding, options = entry
    previous = options.get("control")
    key = (previous, id(controls))
    if key not in chained:
        last = previous
        for control in controls:
            last = control.copy().set_previous_controlnet(last)
        last.extra_hooks = hooks
        chained[key] = last
    return [embedding, {**options, "control": chained[key], "control_apply_to_uncond": False}]


def resolve_masks(regions: Sequence[AnyRegion], rule: Overlap) -> list[AnyRegion]:
    """The regions with the masks that act under an overlap rule."""
    if rule is Overlap.ADD or len(regions) == 1:
        return list(regions)
    masks = resolve_overlap(align_masks([region.mask.white for region in regions]), rule)
    return [
        replace(region, mask=RegionMask(mask)) for region, mask in zip(regions, masks, strict=True)
    ]
