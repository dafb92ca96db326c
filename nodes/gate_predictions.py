"""Gating whatever controls a model, by what it predicts with and without."""

from comfy.model_patcher import ModelPatcher
from comfy_api.v0_0_2 import io
from torch import Tensor

from ..local_control.region_mask import RegionMask
from .comfy_types import CATEGORY, from_comfy_mask, make_schema
from .inputs import checked
from .region_inputs import check_white
from .sampler.control.gated_predictions import gate_predictions


class GatePredictions(io.ComfyNode):
    """With and without control -> predictions with it inside the mask alone."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the schema; what is not connected is the same with and without control."""
        return make_schema(
            ["masked controlnet", "mask control", "regional control"],
            node_id="LocalControl_GatePredictions",
            display_name="Gate Predictions",
            category=f"{CATEGORY}/any model",
            description="Lets any control act inside the mask alone: concatenated and reference "
            "latents, IP-Adapter, patches that Gate Model Patches cannot gate. Each step is "
            "predicted with and without it, and the two are blended by the mask: one more run a "
            "step for each prompt that differs, for both if the model does.",
            inputs=[
                io.Model.Input("model", tooltip="With control."),
                io.Conditioning.Input("positive", tooltip="With control."),
                io.Conditioning.Input("negative", tooltip="With control."),
                io.Mask.Input("mask", tooltip="White = controlled; over the whole frame."),
                io.Model.Input(
                    "model_without",
                    optional=True,
                    tooltip="The model before its control was added; if the control is in the "
                    "prompts alone, leave it unconnected.",
                ),
                io.Conditioning.Input(
                    "positive_without",
                    optional=True,
                    tooltip="The positive prompt before its control was added.",
                ),
                io.Conditioning.Input(
                    "negative_without",
                    optional=True,
                    tooltip="The negative prompt before its control was added.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="For the sampler."),
                io.Conditioning.Output(display_name="positive", tooltip="For the sampler."),
                io.Conditioning.Output(display_name="negative", tooltip="For the sampler."),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls,
        model: ModelPatcher,
        positive: list,
        negative: list,
        mask: Tensor,
        model_without: ModelPatcher | None = None,
        positive_without: list | None = None,
        negative_without: list | None = None,
    ) -> io.NodeOutput:
        """Return model and prompts, which must reach the same sampler."""
        white = from_comfy_mask(mask)
        check_white(white, "Gate Predictions", "control nothing")
        if model_without is None and positive_without is None and negative_without is None:
            raise ValueError(
                "Gate Predictions has nothing without control to blend with; connect what was "
                "there before the control: model_without, positive_without or negative_without."
            )
        prompts = {
            "positive": (positive, positive_without),
            "negative": (negative, negative_without),
        }
        gated, sides = gate_predictions(model, RegionMask(white), prompts, model_without)
        return io.NodeOutput(gated, *sides)
