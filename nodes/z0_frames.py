"""z0', the predicted clean latent, of every step in hand after sampling."""

from typing import Any

from comfy_api.v0_0_2 import io
from torch import Tensor

from ..local_control.steering import EdgeCurve, edge_curve
from .comfy_types import CATEGORY, Regions, Trace, from_comfy_latent, make_schema, to_comfy_image
from .inputs import checked
from .pictures.charts import draw_curve, to_json, write_words
from .pictures.decoding import estimate_images
from .region import AnyRegion
from .sampler.control.view import check_pictures, pixels_per_cell
from .sampler.z0.overlay import PlacedOverlay, to_frames, union
from .sampler.z0.trace import KEPT_BYTES, Sampling, Z0Trace
from .timeline import SHOWN, timeline

_OWNER = "z0' Frames"
_NO_TRACE = (
    "There is no z0' to show: nothing is connected to z0_trace, as when Preview z0' is bypassed. "
    "Connect the z0_trace of Preview z0', and its model to the sampler."
)


class Z0Frames(io.ComfyNode):
    """Z0_TRACE after sampling -> pictures, latents and an edge curve of every step."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the schema; the LATENT makes this node wait until sampling is over."""
        return make_schema(
            ["preview x0", "x0 frames", "timeline", "latent preview"],
            node_id="LocalControl_Z0Frames",
            display_name="z0' Frames",
            category=f"{CATEGORY}/watch",
            description="The predicted clean latent of every step: all steps of the first image, "
            "then of the next. And how its edges come to those of a reference. Shows both on "
            "itself; a click on a step tells when control could begin or end.",
            inputs=[
                Trace.Input("z0_trace", optional=True, tooltip="From Preview z0'."),
                io.Latent.Input("latent", tooltip="What the sampler with that model returned."),
                io.Vae.Input(
                    "vae", optional=True, tooltip="Decodes the frames; else colours are estimated."
                ),
                Regions.Input(
                    "regions", optional=True, tooltip="The curve tells inside from outside."
                ),
                io.Latent.Input(
                    "reference",
                    optional=True,
                    tooltip="What the curve compares with, such as the condition's picture through "
                    "VAE Encode; else the result.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="frames", tooltip="z0' of every step as pictures."),
                io.Latent.Output(display_name="latents", tooltip="z0' of every step as latents."),
                io.Image.Output(
                    display_name="curve", tooltip="Edge error a step: green inside, red outside."
                ),
                io.String.Output(display_name="numbers", tooltip="The curve as JSON."),
            ],
            is_output_node=True,  # a cached one shows itself again to a page loaded since
        )

    @classmethod
    @checked
    def execute(
        cls,
        latent: dict,
        z0_trace: Z0Trace | None = None,
        vae: Any = None,
        regions: tuple[AnyRegion, ...] = (),
        reference: dict | None = None,
    ) -> io.NodeOutput:
        """Return frames, latents, curve and numbers; without a trace pictures that say so."""
        if z0_trace is None:
            words = to_comfy_image(write_words(_NO_TRACE))
            told = {SHOWN: [{"words": _NO_TRACE}]}
            return io.NodeOutput(words, latent, words, to_json(EdgeCurve([], [])), ui=told)
        sampling = sampling_of(z0_trace, from_comfy_latent(latent))
        frames = sampling.stacked()
        check_pictures(frames[-1].shape, _OWNER)
        compared = frames[-1]
        if reference is not None:
            compared = sampling.latent_format.process_in(from_comfy_latent(reference))
        masks = [region.mask for region in regions]
        cell = pixels_per_cell(sampling.latent_format)
        overlay = PlacedOverlay(compared, masks, _OWNER, cell)
        wanted, placed = overlay.over(frames[-1])
        curve = edge_curve([to_frames(frame) for frame in frames], wanted, union(placed))
        chart = to_comfy_image(draw_curve(curve))
        # [S,B,...] -> [B*S,...]: all steps of one image stand together.
        z0 = frames.transpose(0, 1).flatten(0, 1)
        latents = sampling.latent_format.process_out(z0)
        images = estimate_images(z0, sampling.latent_format) if vae is None else vae.decode(latents)
        if images.ndim == 5:  # the frames of videos in a row, as stock nodes give them
            images = images.flatten(0, 1)
        every = len(images) // len(z0)  # of a video the first frame of each step
        steps = images[: len(frames) * every : every]
        shown = timeline(steps, curve, sampling.percents, cls)
        return io.NodeOutput(images, {"samples": latents}, chart, to_json(curve), ui=shown)


def sampling_of(trace: Z0Trace, samples: Tensor) -> Sampling:
    """Return the sampling with steps that made `samples`, from a LATENT.

    Raises:
        ValueError: the trace has none, or only others, or it had no steps.
    """
    found = trace.sampling_of(samples)
    if found is None:
        raise ValueError(_why_none(trace))
    if found.is_cut:
        raise ValueError(
            f"The z0' trace has let go of the steps of the sampling that made this latent: it "
            f"keeps the latest {KEPT_BYTES >> 20} MB; sample fewer or smaller latents in one run."
        )
    if not found.frames:
        raise ValueError(
            "The sampling that made this latent had no steps, so there is no z0' of it; let it end "
            "after the step at which it starts."
        )
    return found


def _why_none(trace: Z0Trace) -> str:
    if trace.samplings:
        return (
            "The z0' trace is of other samplings than this latent; connect the latent of a sampler "
            "that has the model of this Preview z0', let it sample (a denoise above 0), or change "
            "the seed, so that it samples again."
        )
    return (
        "The z0' trace is empty: no step has been sampled with the model of Preview z0'. Connect "
        "that model to the sampler whose latent comes in here; if it is, let it sample (a denoise "
        "above 0), or change the seed, so that it samples again."
    )
