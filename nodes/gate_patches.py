"""Gating controls that are model patches."""

from comfy.model_patcher import ModelPatcher
from comfy_api.v0_0_2 import io
from torch import Tensor

from ..local_control.region_mask import RegionMask
from .comfy_types import CATEGORY, from_comfy_mask, make_schema
from .inputs import checked
from .region_inputs import check_white
from .sampler.control.gated_model import gate_patches


class GatePatches(io.ComfyNode):
    """MODEL with patches that act as controls -> the same, acting inside the mask alone."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the schema: DiffSynth and the like are patches of a model, no CONTROL_NET."""
        return make_schema(
            [
                "masked controlnet",
                "diffsynth",
                "qwen controlnet",
                "z-image controlnet",
                "model patch mask",
            ],
            node_id="LocalControl_GatePatches",
            display_name="Gate Model Patches",
            category=f"{CATEGORY}/any model",
            description="Lets controls that are part of the model (DiffSynth, Z-Image, VACE) act "
            "inside the mask alone.",
            inputs=[
                io.Model.Input("model", tooltip="After the node that applied the patch."),
                io.Mask.Input("mask", tooltip="White = controlled; over the whole frame."),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="For the sampler, or the next patch.")
            ],
        )

    @classmethod
    @checked
    def execute(cls, model: ModelPatcher, mask: Tensor) -> io.NodeOutput:
        """Return a model whose patches act inside the mask, but for those that have one already."""
        white = from_comfy_mask(mask)
        check_white(white, "Gate Model Patches", "control nothing")
        return io.NodeOutput(gate_patches(model, RegionMask(white)))
