"""Strengths that follow what z0' shows."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy_api.v0_0_2 import io
from torch import Tensor

from ..local_control.steering import StrengthLoop
from .comfy_types import CATEGORY, Regions, advanced, make_schema
from .inputs import checked
from .reference import reference_overlay
from .region import AnyRegion
from .sampler.z0.closed_loop import watch_regions


class ClosedLoop(io.ComfyNode):
    """MODEL and regions -> both, tied: z0' of a step sets the strengths of the next."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the schema; both outputs must reach the same sampler."""
        return make_schema(
            ["adaptive strength", "auto strength"],
            node_id="LocalControl_ClosedLoop",
            display_name="Closed Loop",
            category=f"{CATEGORY}/any model",
            description="Lowers a region's strength once the edges of z0' follow the reference "
            "there, and raises it while they do not.",
            inputs=[
                io.Model.Input("model", tooltip="The model that is sampled."),
                Regions.Input(
                    "regions", optional=True, tooltip="Those that have no loop yet get one."
                ),
                io.Latent.Input(
                    "reference",
                    optional=True,
                    tooltip="The condition's picture through VAE Encode; or connect image and vae.",
                ),
                io.Float.Input(
                    "target",
                    default=0.8,
                    min=-1.0,
                    max=1.0,
                    step=0.01,
                    tooltip="The alignment of edges at which a strength stays as it is: 1 is "
                    "equal, 0 unrelated.",
                ),
                advanced(
                    io.Float.Input(
                        "gain",
                        default=1.0,
                        min=0.0,
                        max=10.0,
                        step=0.05,
                        tooltip="How fast strengths change; 0 leaves them.",
                    )
                ),
                advanced(
                    io.Float.Input(
                        "lowest",
                        default=0.25,
                        min=0.0,
                        max=1.0,
                        step=0.01,
                        tooltip="The least factor of a strength.",
                    )
                ),
                advanced(
                    io.Float.Input(
                        "highest",
                        default=2.0,
                        min=1.0,
                        max=10.0,
                        step=0.01,
                        tooltip="The largest factor of a strength.",
                    )
                ),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The picture that the conditions were made of, of any size, in place "
                    "of a reference; without both, the regions' own conditions.",
                ),
                io.Vae.Input("vae", optional=True, tooltip="Encodes the image, once."),
            ],
            outputs=[
                io.Model.Output(
                    display_name="model", tooltip="For the sampler that has the regions as well."
                ),
                Regions.Output(display_name="regions", tooltip="For Apply Local Control."),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls,
        model: ModelPatcher,
        target: float,
        gain: float,
        lowest: float,
        highest: float,
        regions: Sequence[AnyRegion] = (),
        reference: dict | None = None,
        image: Tensor | None = None,
        vae: Any = None,
    ) -> io.NodeOutput:
        """Return model and regions, tied; what comes in is left as it is."""
        fresh = [region for region in regions if region.loop is None]
        if not fresh:
            return io.NodeOutput(model, tuple(regions))
        loops = [StrengthLoop(target, gain, (lowest, highest)) for _ in fresh]
        masks = [region.mask for region in fresh]
        overlay = reference_overlay("Closed Loop", masks, reference, image, vae, fresh)
        given = iter(loops)
        tied = (r if r.loop is not None else replace(r, loop=next(given)) for r in regions)
        return io.NodeOutput(watch_regions(model, overlay, loops), tuple(tied))
