"""Steering z0' without an adapter."""

from collections.abc import Sequence
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy_api.v0_0_2 import io
from torch import Tensor

from ..local_control.edges import EDGE_FILTERS
from ..local_control.region_mask import RegionMask
from .comfy_types import CATEGORY, Regions, advanced, from_comfy_mask, make_schema
from .inputs import checked
from .reference import reference_overlay
from .region import AnyRegion
from .region_inputs import check_range, check_white
from .sampler.z0.guidance import Guidance, guide_edges
from .shared_inputs import range_inputs

_OWNER = "Edge Guidance"


class EdgeGuidance(io.ComfyNode):
    """MODEL -> a MODEL whose z0' is moved towards the edges of a reference inside a mask."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the schema; it needs no adapter and no training, so every family has it."""
        return make_schema(
            ["edges", "guidance", "sobel", "mask control"],
            node_id="LocalControl_EdgeGuidance",
            display_name="Edge Guidance",
            category=f"{CATEGORY}/any model",
            description="At each step moves the predicted clean latent towards the edges of a "
            "reference latent, inside the mask. Works with every model, with or without controls.",
            inputs=[
                io.Model.Input("model", tooltip="The model that is sampled."),
                io.Latent.Input(
                    "reference",
                    optional=True,
                    tooltip="A picture through VAE Encode, as large as the result; or connect "
                    "image and vae.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="White = guided; over the whole frame. Without it the regions' masks.",
                ),
                io.Float.Input(
                    "scale",
                    default=1.0,
                    min=0.0,
                    max=10.0,
                    step=0.05,
                    tooltip="1 moves by a full step of the gradient descent, whatever size and "
                    "family.",
                ),
                *range_inputs(
                    "The share of the sampling at which guidance begins.",
                    "The share at which guidance ends; later steps mend the picture.",
                    end=0.8,
                ),
                advanced(
                    io.Combo.Input(
                        "edge",
                        options=list(EDGE_FILTERS),
                        default="sobel",
                        tooltip="sobel: edges whatever their direction; sobel_gradients: from dark "
                        "to light as in the reference; laplacian: lines.",
                    )
                ),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The picture to follow, of any size, in place of a reference.",
                ),
                io.Vae.Input("vae", optional=True, tooltip="Encodes the image, once."),
                Regions.Input(
                    "regions",
                    optional=True,
                    tooltip="Where there is no mask, theirs; where there is neither reference nor "
                    "image, their own conditions.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="For the sampler.")],
        )

    @classmethod
    @checked
    def execute(
        cls,
        model: ModelPatcher,
        reference: dict | None = None,
        mask: Tensor | None = None,
        scale: float = 1.0,
        start_percent: float = 0.0,
        end_percent: float = 0.8,
        edge: str = "sobel",
        image: Tensor | None = None,
        vae: Any = None,
        regions: Sequence[AnyRegion] = (),
    ) -> io.NodeOutput:
        """Return a guided model; the one given is left as it is."""
        guided = masks_of(regions) if mask is None else [RegionMask(white_of(mask))]
        span = check_range(start_percent, end_percent, _OWNER)
        overlay = reference_overlay(_OWNER, guided, reference, image, vae, regions)
        guidance = Guidance(overlay, scale, span, edge)
        return io.NodeOutput(guide_edges(model, guidance))


def white_of(mask: Tensor) -> Tensor:
    """Return the masks [B,1,H,W] of a MASK; ValueError if they are all black."""
    white = from_comfy_mask(mask)
    check_white(white, _OWNER, "guide nothing")
    return white


def masks_of(regions: Sequence[AnyRegion]) -> list[RegionMask]:
    """Return where regions act; ValueError without regions."""
    if not regions:
        raise ValueError(
            "Edge Guidance has neither a mask nor regions, so it is not told where to act; connect "
            "a mask that is white there."
        )
    return [region.mask for region in regions]
