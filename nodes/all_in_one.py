"""One node for the first ten minutes: a picture with local control, in view while it is sampled."""

from pathlib import Path
from typing import Any

import comfy.samplers
import folder_paths
from comfy_api.v0_0_2 import io
from comfy_execution.graph_utils import GraphBuilder

from ..local_control.checkpoint import read_metadata
from ..local_control.conditions import CONDITIONS
from .acting import Outside, acts_on_input, outside_input
from .adapter_files import DEFAULTS, FOLDER, adapter_names, condition_of, file_version
from .comfy_types import CATEGORY, Regions, make_schema
from .inputs import checked
from .shared_inputs import range_inputs, size_inputs, strength_input

_AUTO = "auto"
_READY = "as it is"  # the picture is the condition
_FALLBACK = "canny"
# Links are handed on as they are, so that what does not depend on a change is not made anew.
_LINK = {"rawLink": True}


class LocalControl(io.ComfyNode):
    """Model, prompts, picture and mask -> the finished picture, by the pack's own nodes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the schema; the parts are nodes of their own, for those who want them."""
        return make_schema(
            [
                "regional control",
                "masked controlnet",
                "controlnet mask",
                "region",
                "mask control",
                "t2i adapter",
                "sketch to image",
                "edges",
            ],
            node_id="LocalControl_LocalControl",
            display_name="Local Control",
            category=CATEGORY,
            description="Samples a picture that follows the edges or colours of another one where "
            "the mask is white, and the prompt alone elsewhere. Shows it while it samples, and "
            "afterwards what control has changed.",
            inputs=[
                io.Model.Input("model", extra_dict=_LINK, tooltip="From Load Checkpoint."),
                io.Conditioning.Input(
                    "positive", extra_dict=_LINK, tooltip="The prompt for the whole picture."
                ),
                io.Conditioning.Input(
                    "negative", extra_dict=_LINK, tooltip="What the picture should not show."
                ),
                io.Vae.Input("vae", extra_dict=_LINK, tooltip="From Load Checkpoint."),
                io.Image.Input(
                    "image", extra_dict=_LINK, tooltip="The picture to follow inside the mask."
                ),
                io.Mask.Input(
                    "mask", extra_dict=_LINK, tooltip="White = controlled; as large as the picture."
                ),
                io.Combo.Input(
                    "adapter_name",
                    options=adapter_names(),
                    tooltip="A T2I-Adapter in models/controlnet or models/t2i_adapter, of the "
                    "model's family.",
                ),
                io.Combo.Input(
                    "kind",
                    options=[_AUTO, *CONDITIONS, _READY],
                    default=_AUTO,
                    tooltip="What the adapter reads of the picture. auto: what its file says, or "
                    "canny if it says nothing. as it is: the picture is a condition already.",
                ),
                strength_input("More follows the picture more closely."),
                *range_inputs(),
                acts_on_input(),
                outside_input(Outside.EXACT),
                *size_inputs(16, "Of the new picture."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="The noise that sampling begins with.",
                ),
                io.Int.Input(
                    "steps", default=20, min=1, max=10000, tooltip="How many steps it takes."
                ),
                io.Float.Input(
                    "cfg",
                    default=7.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    tooltip="How closely the picture keeps to the prompt.",
                ),
                io.Combo.Input(
                    "sampler_name",
                    options=comfy.samplers.KSampler.SAMPLERS,
                    default="euler",
                    tooltip="As in KSampler.",
                ),
                io.Combo.Input(
                    "scheduler",
                    options=comfy.samplers.KSampler.SCHEDULERS,
                    default="normal",
                    tooltip="As in KSampler.",
                ),
                io.Boolean.Input(
                    "compare",
                    default=True,
                    tooltip="Sample the same seed without control as well, once for each seed and "
                    "prompt, and show both under a slider.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The picture with control."),
                Regions.Output(
                    display_name="regions", tooltip="The region, for Local Control Region and more."
                ),
                io.String.Output(
                    display_name="text", tooltip="How well the picture follows, in words."
                ),
            ],
            is_output_node=True,
            enable_expand=True,
        )

    @classmethod
    def fingerprint_inputs(cls, adapter_name: str | None, **_others: Any) -> tuple[int, int]:
        """Return what changes with the adapter's file, so that a new one is loaded."""
        return file_version(adapter_name)

    @classmethod
    @checked
    def execute(
        cls,
        model: list,
        positive: list,
        negative: list,
        vae: list,
        image: list,
        mask: list,
        adapter_name: str,
        kind: str,
        strength: float,
        start_percent: float,
        end_percent: float,
        width: int,
        height: int,
        seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        compare: bool,
        acts_on: str = "both",
        outside: str = Outside.EXACT,
    ) -> io.NodeOutput:
        """Return the graph of parts that takes this node's place; links are [node id, slot]."""
        graph = GraphBuilder()
        path = Path(folder_paths.get_full_path_or_raise(FOLDER, adapter_name))
        chosen, options = condition_of(read_metadata(path)) or (_FALLBACK, {})
        if kind != _AUTO:
            chosen, options = kind, options if kind == chosen else {}
        adapter = graph.node("LocalControl_LoadAdapter", adapter_name=adapter_name)
        condition: Any = image
        options = {**DEFAULTS, **options}
        if chosen != _READY:
            made = graph.node("LocalControl_Condition", image=image, kind=chosen, **options)
            condition = made.out(0)
        region = graph.node(
            "LocalControl_Region",
            control_net=adapter.out(0),
            image=condition,
            mask=mask,
            strength=strength,
            start_percent=start_percent,
            end_percent=end_percent,
            feather=0,
            level_weights="1, 1, 1, 1",
            acts_on=acts_on,
        )
        applied = graph.node(
            "LocalControl_Apply",
            positive=positive,
            negative=negative,
            regions=region.out(0),
            overlap="add",
            vae=vae,
            outside=outside,
        )
        shown = graph.node("LocalControl_Z0Preview", model=model, regions=region.out(0), vae=vae)
        latent = graph.node("EmptyLatentImage", width=width, height=height, batch_size=1)
        numbers = {"seed": seed, "steps": steps, "cfg": cfg, "denoise": 1.0}
        names = {"sampler_name": sampler_name, "scheduler": scheduler}

        def sample(source: Any, first: Any, second: Any) -> Any:
            prompts = {"model": source, "positive": first, "negative": second}
            inputs = {**prompts, "latent_image": latent.out(0), **numbers, **names}
            samples = graph.node("KSampler", **inputs).out(0)
            return graph.node("VAEDecode", samples=samples, vae=vae).out(0)

        picture = sample(shown.out(0), applied.out(0), applied.out(1))
        free = {"uncontrolled": sample(model, positive, negative)} if compare else {}
        score = graph.node(
            "LocalControl_Score",
            image=picture,
            condition=condition,
            mask=mask,
            kind="colour" if chosen == "colour" else "edges",
            tolerance=2,
            **options,
            **free,
        )
        seen = graph.node("LocalControl_Compare", image=picture, text=score.out(6), **free)
        return io.NodeOutput(picture, region.out(0), seen.out(0), expand=graph.finalize())
