"""Making conditions from pictures."""

from comfy.controlnet import ControlBase
from comfy_api.v0_0_2 import io, ui
from torch import Tensor

from ..local_control.conditions import CONDITIONS
from .adapter_files import DEFAULTS, condition_of
from .comfy_types import CATEGORY, from_comfy_image, make_schema, to_comfy_image
from .inputs import check_least, checked
from .region import metadata_of
from .shared_inputs import condition_inputs

_SHOWN = 16
_LEAST = 3  # pixels; filters of edges look at that many


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
                *condition_inputs(
                    "canny: weaker gradients are no edge.",
                    "canny: stronger gradients start an edge.",
                    "canny: smooth the picture first, by a Gaussian of so many pixels; texture "
                    "goes, outlines stay.",
                ),
                io.ControlNet.Input(
                    "control_net",
                    optional=True,
                    tooltip="From Load Local Adapter: kind and options are then what the adapter "
                    "was trained for, if its file says so.",
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
        control_net: ControlBase | None = None,
    ) -> io.NodeOutput:
        """Return the condition, made by the options of the chosen kind alone."""
        told = control_net and condition_of(metadata_of(control_net))
        if told:
            kind, named = told
            low_threshold, high_threshold, blur, blocks = (DEFAULTS | named).values()
        options = {
            "canny": {"low": low_threshold, "high": high_threshold, "blur": blur},
            "colour": {"blocks": blocks},
        }
        check_least(image, _LEAST, "The image of Local Control Condition")
        made = CONDITIONS[kind](from_comfy_image(image), **options.get(kind, {}))
        condition = to_comfy_image(made)
        return io.NodeOutput(condition, ui=ui.PreviewImage(condition[:_SHOWN], cls=cls))
