"""Steering z0' without an adapter."""

from comfy.model_patcher import ModelPatcher
from comfy_api.v0_0_2 import io
from torch import Tensor

from ..local_control.edges import EDGE_FILTERS
from ..local_control.masks import has_white
from ..local_control.region_mask import RegionMask
from .comfy_types import CATEGORY, from_comfy_latent, from_comfy_mask, make_schema
from .inputs import checked
from .region_inputs import check_range
from .sampler.z0.guidance import Guidance, guide_edges
from .sampler.z0.overlay import Overlay


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
                    "reference", tooltip="A picture through VAE Encode, as large as the result."
                ),
                io.Mask.Input("mask", tooltip="White = guided; over the whole frame."),
                io.Float.Input(
                    "scale",
                    default=1.0,
                    min=0.0,
                    max=10.0,
                    step=0.05,
                    tooltip="1 moves by a full step of the gradient descent, whatever size and "
                    "family.",
                ),
                io.Float.Input(
                    "start_percent",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    tooltip="The share of the sampling at which guidance begins.",
                ),
                io.Float.Input(
                    "end_percent",
                    default=0.8,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    tooltip="The share at which guidance ends; later steps mend the picture.",
                ),
                io.Combo.Input(
                    "edge",
                    options=list(EDGE_FILTERS),
                    default="sobel",
                    tooltip="sobel: edges whatever their direction; sobel_gradients: from dark to "
                    "light as in the reference; laplacian: lines.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="For the sampler.")],
        )

    @classmethod
    @checked
    def execute(
        cls,
        model: ModelPatcher,
        reference: dict,
        mask: Tensor,
        scale: float,
        start_percent: float,
        end_percent: float,
        edge: str,
    ) -> io.NodeOutput:
        """Return a guided model; the one given is left as it is."""
        white = from_comfy_mask(mask)
        if not has_white(white).any():
            raise ValueError(
                "The mask of Edge Guidance is all black or nearly so, and would guide nothing; "
                "paint white where the image should follow the reference."
            )
        span = check_range(start_percent, end_percent, "Edge Guidance")
        overlay = Overlay(from_comfy_latent(reference), [RegionMask(white)], "Edge Guidance")
        guidance = Guidance(overlay, scale, span, edge)
        return io.NodeOutput(guide_edges(model, guidance))
