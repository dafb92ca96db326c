"""z0', the predicted clean latent, in view while sampling."""

from collections.abc import Callable
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy.utils import ProgressBar
from comfy_api.v0_0_2 import io
from PIL import Image
from torch import Tensor

from ..local_control.steering import EdgeCurve, edge_curve
from .comfy_types import CATEGORY, Regions, Trace, advanced, from_comfy_latent, make_schema
from .inputs import checked
from .pictures.decoding import decoder, estimate
from .pictures.rendering import Renderer, write_step
from .region import AnyRegion
from .sampler.z0.live import LivePreview
from .sampler.z0.overlay import Overlay, to_frames, union
from .sampler.z0.sampling_run import Run
from .sampler.z0.trace import Z0Trace
from .sampler.z0.watch import watch_z0

_OWNER = "Preview z0'"
_PREVIEW_PIXELS = 1024
_PARTS = ("result", "positive", "negative")


class Z0Preview(io.ComfyNode):
    """MODEL -> a MODEL that shows z0' on this node at every step."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the schema; it works with every sampler, whatever preview the server is set to."""
        return make_schema(
            ["preview x0", "latent preview", "live preview", "x0", "denoised preview"],
            node_id="LocalControl_Z0Preview",
            display_name="Preview z0'",
            category=f"{CATEGORY}/watch",
            description="Shows the predicted clean latent while sampling, and keeps it.",
            inputs=[
                io.Model.Input("model", tooltip="The model that is sampled."),
                Regions.Input("regions", optional=True, tooltip="Draws their outlines."),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="Decodes the pictures (a TAESD is fast); else colours are estimated. "
                    "It runs on the CPU beside the sampling, no step of which waits for it.",
                ),
                advanced(
                    io.Int.Input(
                        "every",
                        default=1,
                        min=1,
                        max=1000,
                        optional=True,
                        tooltip="A picture every so many steps.",
                    )
                ),
                advanced(
                    io.Combo.Input(
                        "part",
                        options=list(_PARTS),
                        default=_PARTS[0],
                        optional=True,
                        tooltip="What guidance made of both prompts, or what one alone predicts.",
                    )
                ),
                io.Latent.Input(
                    "reference",
                    optional=True,
                    tooltip="Writes how far z0' is from its edges, inside the regions and outside, "
                    "into the picture's corner.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="For the sampler."),
                Trace.Output(display_name="z0_trace", tooltip="z0' of every step, for z0' Frames."),
            ],
            hidden=[io.Hidden.unique_id],
            not_idempotent=True,  # each has a trace and a place for pictures of its own
        )

    @classmethod
    @checked
    def execute(
        cls,
        model: ModelPatcher,
        regions: tuple[AnyRegion, ...] = (),
        vae: Any = None,
        every: int = 1,
        part: str = "result",
        reference: dict | None = None,
    ) -> io.NodeOutput:
        """Return a watched model and its trace; what is given is left as it is."""
        node_id = cls.hidden.unique_id
        masks = [region.mask for region in regions]
        compared = (
            None if reference is None else Overlay(from_comfy_latent(reference), masks, _OWNER)
        )

        def send(step: int, steps: int, picture: Image.Image | None) -> None:
            preview = None if picture is None else ("JPEG", picture, _PREVIEW_PIXELS)
            ProgressBar(steps, node_id=node_id).update_absolute(step, steps, preview)

        def preview(run: Run, noise: Tensor) -> LivePreview:
            # Asked while sampling: nodes behind this one may change it.
            latent_format = run.model.latent_format
            decode = estimate(latent_format) if vae is None else decoder(vae, latent_format)
            draw = Renderer(decode, masks, _PREVIEW_PIXELS)
            measure = None if compared is None else error_of(compared, latent_format, noise)

            def render(frame: Tensor, step: int, steps: int) -> Image.Image:
                curve = None if measure is None else measure(frame)
                return write_step(draw(frame), step, steps, curve)

            return LivePreview(render, send, every)

        trace = Z0Trace()
        return io.NodeOutput(watch_z0(model, trace, preview, part), trace)


def error_of(compared: Overlay, latent_format: Any, noise: Tensor) -> Callable[[Tensor], EdgeCurve]:
    """Return a function from z0' of a step to its edge errors, for latents shaped as `noise`.

    Raises:
        ValueError: the reference does not fit the latent.
    """
    overlay = compared.on(latent_format)
    overlay.over(noise)

    def measure(frame: Tensor) -> EdgeCurve:
        reference, masks = overlay.over(frame)
        return edge_curve([to_frames(frame)], reference, union(masks))

    return measure
