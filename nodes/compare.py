"""A picture with control and the same without, one over the other."""

from comfy_api.v0_0_2 import io, ui
from torch import Tensor

from .comfy_types import CATEGORY, from_comfy_image, make_schema, to_comfy_image
from .inputs import checked


class Compare(io.ComfyNode):
    """Two IMAGEs and a text -> a slider between both, on the node."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the schema; of batches the first pictures are shown."""
        return make_schema(
            ["compare", "before after", "image compare", "slider"],
            node_id="LocalControl_Compare",
            display_name="With and Without Control",
            category=f"{CATEGORY}/score",
            description="Shows what control has changed: a slider between the same seed with "
            "control and without.",
            inputs=[
                io.Image.Input("image", tooltip="The picture with control."),
                io.Image.Input(
                    "uncontrolled",
                    optional=True,
                    tooltip="The same seed without control; without it the picture alone is shown.",
                ),
                io.String.Input(
                    "text",
                    optional=True,
                    force_input=True,
                    tooltip="Words to show, such as the text of Local Control Score.",
                ),
            ],
            outputs=[io.String.Output(display_name="text", tooltip="The text, as it came in.")],
            is_output_node=True,
        )

    @classmethod
    @checked
    def execute(
        cls, image: Tensor, uncontrolled: Tensor | None = None, text: str = ""
    ) -> io.NodeOutput:
        """Return what the pack's script shows on the node."""
        shown = {"words": text, "with": save(image, cls)}
        if uncontrolled is not None:
            shown["without"] = save(uncontrolled, cls)
        return io.NodeOutput(text, ui={"local_control_comparison": [shown]})


def save(image: Tensor, cls: type[io.ComfyNode]) -> dict:
    """Return where the browser finds the first picture of a batch."""
    shown = to_comfy_image(from_comfy_image(image[:1]))
    return ui.PreviewImage(shown, cls=cls).as_dict()["images"][0]
