"""Making conditions from pictures."""

from comfy_api.v0_0_2 import io, ui
from torch import Tensor

from ..local_control.conditions import CONDITIONS
from .comfy_types import CATEGORY, from_comfy_image, make_schema, to_comfy_image
from .inputs import checked

_SHOWN = 16


class Condition(io.ComfyNode):
    """IMAGE -> IMAGE as the adapter reads it, shown on the node."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the schema; thresholds are for canny, blocks for colour."""
        return make_schema(
            [
                "canny",
                "sobel",
                "laplacian",
                "edges",
                "lineart",
                "colour",
                "color",
                "color grid",
                "preprocessor",
            ],
            node_id="LocalControl_Condition",
            display_name="Local Control Condition",
            category=f"{CATEGORY}/regions",
            description="Turns a picture into what an adapter was trained on.",
            inputs=[
                io.Image.Input("image", tooltip="The picture to follow."),
                io.Combo.Input(
                    "kind",
                    options=list(CONDITIONS),
                    default="canny",
                    tooltip="What the adapter reads; the info of Load Local Adapter may say it.",
                ),
                io.Int.Input(
                    "low_threshold",
                    default=100,
                    min=0,
                    max=1000,
                    tooltip="canny: weaker gradients are no edge.",
                ),
                io.Int.Input(
                    "high_threshold",
                    default=200,
                    min=0,
                    max=1000,
                    tooltip="canny: stronger gradients start an edge.",
                ),
                io.Float.Input(
                    "blur",
                    default=0.0,
                    min=0.0,
                    max=64.0,
                    step=0.1,
                    tooltip="canny: smooth the picture first, by a Gaussian of so many pixels; "
                    "texture goes, outlines stay.",
                ),
                io.Int.Input(
                    "blocks",
                    default=8,
                    min=1,
                    max=256,
                    tooltip="colour: blocks along the shorter side.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="condition", tooltip="For Local Control Region.")
            ],
            is_output_node=True,
        )

    @classmethod
    @checked
    def execute(
        cls,
        image: Tensor,
        kind: str,
        low_threshold: int,
        high_threshold: int,
        blur: float,
        blocks: int,
    ) -> io.NodeOutput:
        """Return the condition, made by the options of the chosen kind alone."""
        options = {
            "canny": {"low": low_threshold, "high": high_threshold, "blur": blur},
            "colour": {"blocks": blocks},
        }
        made = CONDITIONS[kind](from_comfy_image(image), **options.get(kind, {}))
        condition = to_comfy_image(made)
        return io.NodeOutput(condition, ui=ui.PreviewImage(condition[:_SHOWN], cls=cls))
