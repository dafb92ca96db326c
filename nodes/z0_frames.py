"""z0', the predicted clean latent, of every step in hand after sampling."""

from typing import Any

import torch
from comfy_api.v0_0_2 import io
from torch import Tensor

from ..local_control.masks import to_comfy_image
from ..local_control.steering import edge_curve
from .load_adapter import CATEGORY
from .pictures.charts import draw_curve, to_json
from .pictures.rendering import estimate_images
from .region import AnyRegion, Regions
from .sampler.z0.overlay import to_images
from .sampler.z0.trace import Sampling, Z0Trace, picture_of
from .z0_preview import Trace, union


class Z0Frames(io.ComfyNode):
    """Z0_TRACE after sampling -> pictures, latents and an edge curve of every step."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The LATENT makes this node wait until sampling is over."""
        return io.Schema(
            node_id="LocalControl_Z0Frames",
            display_name="z0' Frames",
            category=CATEGORY,
            description="The predicted clean latent of every step: all steps of the first image, "
            "then of the next. And how its edges come to those of a reference.",
            inputs=[
                Trace.Input("z0_trace"),
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
                io.Image.Output(display_name="frames"),
                io.Latent.Output(display_name="latents"),
                io.Image.Output(
                    display_name="curve", tooltip="Edge error a step: green inside, red outside."
                ),
                io.String.Output(display_name="numbers", tooltip="The curve as JSON."),
            ],
        )

    @classmethod
    def execute(
        cls,
        z0_trace: Z0Trace,
        latent: dict,
        vae: Any = None,
        regions: tuple[AnyRegion, ...] = (),
        reference: dict | None = None,
    ) -> io.NodeOutput:
        """Raises ValueError if the trace is not of the sampling that made `latent`."""
        sampling = sampling_of(z0_trace, latent)
        # [S,B,...] -> [B*S,...]: all steps of one image stand together.
        frames = torch.stack(sampling.frames, dim=1).flatten(0, 1)
        latents = sampling.latent_format.process_out(frames)
        if vae is None:
            images = estimate_images(frames, sampling.latent_format)
        else:
            images = vae.decode(latents)
        if images.ndim == 5:  # the frames of videos in a row, as stock nodes give them
            images = images.flatten(0, 1)
        target = sampling.frames[-1]
        if reference is not None:
            target = sampling.latent_format.process_in(picture_of(reference))
        curve = edge_curve(*flat_frames(sampling.frames, target), union(regions, frames))
        return io.NodeOutput(
            images,
            {"samples": latents},
            to_comfy_image(draw_curve(curve)),
            to_json(curve),
        )


def sampling_of(trace: Z0Trace, latent: dict) -> Sampling:
    """The sampling that made `latent`; ValueError if the trace has none or only others."""
    if not trace.samplings:
        raise ValueError(
            "The z0' trace is empty: connect the model of Preview z0' to the sampler, and the "
            "sampler's latent here; if they are, change the seed, so that it samples again."
        )
    found = trace.sampling_of(picture_of(latent))
    if found is None:
        raise ValueError(
            "The z0' trace is of other samplings than this latent; connect the latent of a sampler "
            "that has the model of this Preview z0', or change the seed, so that it samples again."
        )
    return found


def flat_frames(frames: list[Tensor], reference: Tensor) -> tuple[list[Tensor], Tensor]:
    """Video latents [B,C,T,h,w] as pictures [B*T,C,h,w]; ValueError names another reference."""
    if reference.shape[1:] != frames[0].shape[1:] or len(reference) not in (1, len(frames[0])):
        raise ValueError(
            f"The reference of z0' Frames has the shape {tuple(reference.shape)}, but the latent "
            f"{tuple(frames[0].shape)}; encode a picture of the result's size."
        )
    return [to_images(frame) for frame in frames], to_images(reference.expand_as(frames[0]))
