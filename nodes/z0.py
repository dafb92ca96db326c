"""z0', the predicted clean latent, in view while sampling and in hand after it."""

import torch
from comfy.model_patcher import ModelPatcher
from comfy.utils import ProgressBar
from comfy_api.v0_0_2 import io
from torch import Tensor

from .adapters import CATEGORY
from .hooks.z0_trace import Z0Trace, latent_to_rgb, to_picture, watch_z0

Trace = io.Custom("Z0_TRACE")
_PREVIEW_PIXELS = 1024
_LATENT_FACTOR = 8


class Z0Preview(io.ComfyNode):
    """MODEL -> a MODEL that shows z0' on this node at every step."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Works with every sampler, whatever preview the server is set to."""
        return io.Schema(
            node_id="LocalControl_Z0Preview",
            display_name="Preview z0'",
            category=CATEGORY,
            description="Shows the predicted clean latent while sampling, and keeps it.",
            inputs=[io.Model.Input("model")],
            outputs=[
                io.Model.Output(display_name="model"),
                Trace.Output(display_name="z0_trace", tooltip="z0' of every step, for z0' Frames."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, model: ModelPatcher) -> io.NodeOutput:
        """The model given is left as it is."""
        node_id = cls.hidden.unique_id
        latent_format = model.model.latent_format

        def show(step: int, steps: int, x0: Tensor) -> None:
            picture = to_picture(latent_to_rgb(x0, latent_format), _LATENT_FACTOR)
            bar = ProgressBar(steps, node_id=node_id)
            bar.update_absolute(step + 1, steps, ("JPEG", picture, _PREVIEW_PIXELS))

        trace = Z0Trace()
        return io.NodeOutput(watch_z0(model, trace, show), trace)


class Z0Frames(io.ComfyNode):
    """Z0_TRACE after sampling -> pictures and latents of every step."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The LATENT makes this node wait until sampling is over."""
        return io.Schema(
            node_id="LocalControl_Z0Frames",
            display_name="z0' Frames",
            category=CATEGORY,
            description="The predicted clean latent of every step: all steps of the first image, "
            "then of the next.",
            inputs=[
                Trace.Input("z0_trace"),
                io.Latent.Input("latent", tooltip="What the sampler with that model returned."),
                io.Vae.Input(
                    "vae", optional=True, tooltip="Decodes the frames; else colours are estimated."
                ),
            ],
            outputs=[
                io.Image.Output(display_name="frames"),
                io.Latent.Output(display_name="latents"),
            ],
        )

    @classmethod
    def execute(cls, z0_trace: Z0Trace, latent: dict, vae: object = None) -> io.NodeOutput:
        """Raises ValueError if the trace is not of the sampling that made `latent`."""
        if not z0_trace.frames:
            raise ValueError(
                "The z0' trace is empty: connect the model of Preview z0' to the sampler, and the "
                "sampler's latent here."
            )
        if not z0_trace.belongs_to(latent["samples"].float().cpu()):
            raise ValueError(
                "The z0' trace is of another sampling than this latent; give every sampler a "
                "Preview z0' of its own, and connect its latent here."
            )
        # [S,B,...] -> [B*S,...]: all steps of one image stand together.
        frames = torch.stack(z0_trace.frames, dim=1).flatten(0, 1)
        latents = z0_trace.latent_format.process_out(frames)
        if vae is not None:
            images = vae.decode(latents)
        else:
            rgb = latent_to_rgb(frames, z0_trace.latent_format)
            images = rgb.repeat_interleave(_LATENT_FACTOR, 1).repeat_interleave(_LATENT_FACTOR, 2)
        return io.NodeOutput(images, {"samples": latents})
