"""Regions: where a condition acts, how strongly, when and on whom."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from comfy.controlnet import ControlBase, T2IAdapter
from comfy.t2i_adapter.adapter import Adapter, Adapter_light
from comfy_api.v0_0_2 import io, ui
from torch import Tensor

from ..local_control.placement import Fit
from ..local_control.region_mask import RegionMask
from .acting import ACTS_ON, acts_on_input
from .comfy_types import (
    CATEGORY,
    Regions,
    advanced,
    from_comfy_image,
    from_comfy_mask,
    make_schema,
    to_comfy_image,
)
from .inputs import checked
from .pictures.regions import draw_region, hex_of
from .region_inputs import check_range, parse_curve, parse_level_weights, place_condition, soften
from .sampler.control.adapter import AdapterControl, AdapterRegion
from .sampler.control.any_region import ControlRegion
from .sampler.control.controlnet import METADATA
from .sampler.control.loaded import LoadedAdapter
from .shared_inputs import range_inputs, strength_input

AnyRegion = AdapterRegion | ControlRegion
# ComfyUI calls Cascade's controls adapters too; they are gated as any other control.
_ADAPTER_NETWORKS = (Adapter, Adapter_light)


def to_adapter(control: ControlBase) -> LoadedAdapter | None:
    """Return the adapter behind a CONTROL_NET; None for other controls."""
    if isinstance(control, AdapterControl):
        return control.adapter
    if isinstance(control, T2IAdapter) and isinstance(control.t2i_model, _ADAPTER_NETWORKS):
        return LoadedAdapter.from_core(control)
    return None


def metadata_of(control: ControlBase) -> Mapping[str, str]:
    """Return what the file of a CONTROL_NET says of itself; nothing if it is not of our loader."""
    adapter = to_adapter(control)
    return getattr(control, METADATA, {}) if adapter is None else adapter.metadata


class Region(io.ComfyNode):
    """Control, condition and mask -> one more region of a list."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the schema; `regions` are chained to put several in one list."""
        return make_schema(
            [
                "regional control",
                "controlnet mask",
                "masked controlnet",
                "region",
                "mask control",
                "feather",
            ],
            node_id="LocalControl_Region",
            display_name="Local Control Region",
            category=f"{CATEGORY}/regions",
            description="Where a condition controls the image: white in the mask.",
            inputs=[
                io.ControlNet.Input("control_net", tooltip="An adapter or any ControlNet."),
                io.Image.Input("image", tooltip="The condition, over the whole frame."),
                io.Mask.Input("mask", tooltip="White = controlled; as large as the condition."),
                strength_input("More follows the condition more closely; 1 is as trained."),
                *range_inputs(),
                io.Int.Input(
                    "feather",
                    default=0,
                    min=0,
                    max=512,
                    tooltip="Pixels over which the control fades in from the region's border.",
                ),
                advanced(
                    io.String.Input(
                        "level_weights",
                        default="1, 1, 1, 1",
                        tooltip="A factor for each level of features, from fine to coarse.",
                    )
                ),
                Regions.Input("regions", optional=True, tooltip="The regions before this one."),
                advanced(
                    io.Combo.Input(
                        "fit",
                        options=[fit.value for fit in Fit],
                        default=Fit.FRAME.value,
                        optional=True,
                        tooltip="frame: the condition covers the whole frame. Others put it, at "
                        "any size, into the mask's bounds.",
                    )
                ),
                advanced(
                    io.String.Input(
                        "strength_curve",
                        default="1",
                        optional=True,
                        tooltip="Factors of the strength, evenly spaced from start to end: '1, 0' "
                        "fades out.",
                    )
                ),
                acts_on_input(),
            ],
            outputs=[
                Regions.Output(
                    display_name="regions",
                    tooltip="For Apply Local Control or the next region.",
                )
            ],
            is_output_node=True,  # a cached one shows itself again to a page loaded since
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
        """Return the regions with one more, checked as far as can be before sampling."""
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
            "acts_on": ACTS_ON[acts_on],
            "number": number,
        }
        region = (
            ControlRegion(control=control_net, **common)
            if adapter is None
            else AdapterRegion(adapter=adapter, **common)
        )
        shown = draw_region(common["condition"], soft, number, in_words(region))
        picture = ui.PreviewImage(to_comfy_image(shown), cls=cls).as_dict()
        painted = {**picture, "local_control_colour": [hex_of(number)]}
        return io.NodeOutput((*regions, region), ui=painted)


def in_words(region: AnyRegion) -> str:
    """Return what a region is, in a line."""
    named = f" {Path(region.adapter.name).stem}," if isinstance(region, AdapterRegion) else ""
    start, end = region.percent_range
    words = f"{region.number}:{named} strength {region.strength:g}"
    return words if (start, end) == (0, 1) else f"{words}, from {start:.0%} to {end:.0%}"
