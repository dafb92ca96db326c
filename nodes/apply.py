"""Regions into the conditioning."""

import itertools
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from comfy.controlnet import ControlBase
from comfy.hooks import HookGroup
from comfy_api.v0_0_2 import io

from ..local_control.overlap import Overlap, align_masks, resolve_overlap
from ..local_control.region_mask import RegionMask
from .acting import Outside, outside_input
from .comfy_types import CATEGORY, Regions, advanced, make_schema
from .inputs import checked
from .region import AnyRegion
from .sampler.control.adapter import AdapterControl, AdapterRegion
from .sampler.control.any import GatedControl
from .sampler.control.any_region import ControlRegion
from .sampler.control.predictions import blend_exact
from .sampler.control.prompts import keep_sides
from .sampler.control.region_control import RegionControl
from .sampler.control.view import view_hooks

_PROMPTS = ("positive", "negative")


class Apply(io.ComfyNode):
    """Regions into the conditioning."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the schema: as stock Apply ControlNet, for a list of regions."""
        return make_schema(
            ["apply controlnet", "regional control", "masked controlnet"],
            node_id="LocalControl_Apply",
            display_name="Apply Local Control",
            category=f"{CATEGORY}/regions",
            description="Lets the regions control the image while it is sampled.",
            inputs=[
                io.Conditioning.Input("positive", tooltip="The prompt for the whole picture."),
                io.Conditioning.Input("negative", tooltip="What the picture should not show."),
                Regions.Input(
                    "regions", optional=True, tooltip="Without any, the prompts go on as they are."
                ),
                advanced(
                    io.Combo.Input(
                        "overlap",
                        options=[rule.value for rule in Overlap],
                        default=Overlap.ADD.value,
                        tooltip="Where regions overlap: add both, share, or let the first hide "
                        "later.",
                    )
                ),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="For controls that read latents; others ignore it.",
                ),
                outside_input(Outside.GATED),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="For the sampler."),
                io.Conditioning.Output(display_name="negative", tooltip="For the sampler."),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls,
        positive: list,
        negative: list,
        regions: Sequence[AnyRegion] = (),
        overlap: str = Overlap.ADD,
        vae: object = None,
        outside: str = Outside.GATED,
    ) -> io.NodeOutput:
        """Return both prompts, with the same controls if all act on both: ComfyUI batches them."""
        sides = [[region for region in regions if side in region.acts_on] for side in _PROMPTS]
        exact = uuid.uuid4() if outside == Outside.EXACT else None
        controls = [
            build_controls(resolve_masks(side, Overlap(overlap), exact is not None), vae, exact)
            for side in sides
        ]
        alike = all(len(side) == len(regions) for side in sides)
        if alike:
            controls[1] = controls[0]
        for control in itertools.chain(*controls):
            control.is_one_sided = not alike
        wrappers = [] if alike else [keep_sides]
        if exact is not None:
            wrappers.append(blend_exact)
        hooks = view_hooks(*wrappers)
        chained: dict[object, ControlBase] = {}
        return io.NodeOutput(
            *(
                [chain(entry, own, hooks, chained) for entry in cond]
                for cond, own in zip((positive, negative), controls, strict=True)
            )
        )


def build_controls(
    regions: Sequence[AnyRegion], vae: object, exact: uuid.UUID | None = None
) -> list[RegionControl]:
    """Return one control for all adapters, whose features add up, and one for each other.

    exact: what they have in common if predictions with and without them are blended.

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
    controls: list[RegionControl] = [GatedControl(replace(region, vae=vae)) for region in others]
    if adapters:
        controls.insert(0, AdapterControl(adapters[0].adapter, adapters))
    for control in controls:
        control.exact = exact
    return controls


def chain(
    entry: list, controls: Sequence[ControlBase], hooks: HookGroup, chained: dict[object, Any]
) -> list:
    """Return a conditioning entry with `controls` after what it had; with none, as it is.

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
        last.extra_hooks = last.extra_hooks.clone_and_combine(hooks)
        chained[key] = last
    return [embedding, {**options, "control": chained[key], "control_apply_to_uncond": False}]


def resolve_masks(
    regions: Sequence[AnyRegion], rule: Overlap, is_exact: bool = False
) -> list[AnyRegion]:
    """Return the regions of one prompt with the masks that act under an overlap rule.

    is_exact: whether each is also told where any of them acts.
    """
    if not regions or (not is_exact and (rule is Overlap.ADD or len(regions) == 1)):
        return list(regions)
    masks = resolve_overlap(align_masks([region.mask.white for region in regions]), rule)
    blend = RegionMask(masks.sum(0).clamp(max=1)) if is_exact else None
    return [
        replace(region, mask=RegionMask(mask), blend=blend)
        for region, mask in zip(regions, masks, strict=True)
    ]
