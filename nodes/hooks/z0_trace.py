"""z0' while sampling: one look at the predicted clean latent after every step, for any sampler."""

from collections.abc import Callable
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from .live_preview import LivePreview

_KEY = "local_control_z0"


class Z0Trace:
    """z0' of the latest sampling that ran with a watched model.

    frames: one [B,C,h,w] a step, on the CPU, in the model's latent space. result: what the sampler
    returned, in the same space. latent_format: brings both to the space of VAEs and LATENTs.
    """

    def __init__(self) -> None:
        self.start(None)

    def start(self, latent_format: Any) -> None:
        """Forget the sampling before."""
        self.latent_format = latent_format
        self.frames: list[Tensor] = []
        self.result: Tensor | None = None

    def belongs_to(self, samples: Tensor) -> bool:
        """Whether `samples`, from a LATENT, came out of the traced sampling."""
        ends = [end for end in (self.result, *self.frames[-1:]) if end is not None]
        return any(
            end.shape == samples.shape
            and torch.allclose(
                self.latent_format.process_out(end), samples, 1e-2, 1e-2, equal_nan=True
            )
            for end in ends
        )


def watch_z0(
    model: ModelPatcher, trace: Z0Trace, preview: Callable[[Tensor], LivePreview] | None = None
) -> ModelPatcher:
    """A clone of `model` that fills `trace`.

    preview: makes a live preview for each sampling, of latents such as the one that it is given.
    """
    model = model.clone()

    # The sampler's arguments differ between versions of ComfyUI, so they are passed through.
    def wrapper(executor: Any, *args: Any, **kwargs: Any) -> Tensor:
        guider, sigmas, extra_args, callback, noise, *rest = args
        trace.start(guider.inner_model.latent_format)
        live = None if preview is None else preview(noise)

        def watched(step: int, x0: Tensor, x: Tensor, steps: int) -> None:
            frame = _picture(x0)
            trace.frames.append(frame)
            if live is not None:
                live.show(step, steps, frame)
            if callback is not None:
                callback(step, x0, x, steps)

        try:
            samples = executor(guider, sigmas, extra_args, watched, noise, *rest, **kwargs)
            if live is not None:
                live.finish()
        finally:
            if live is not None:
                live.close()
        trace.result = _picture(samples)
        return samples

    model.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, _KEY, wrapper)
    return model


def watch_parts(model: ModelPatcher, part: str) -> tuple[ModelPatcher, Callable[[], Tensor | None]]:
    """A clone of `model`, and what it predicted last for one prompt alone: positive or negative.

    None if it was not asked, as with the negative one at a guidance scale of 1.
    """
    model = model.clone()
    latest: list[Tensor | None] = [None]
    prompt, key = {
        "positive": ("cond", "cond_denoised"),
        "negative": ("uncond", "uncond_denoised"),
    }[part]

    def note(args: dict[str, Any]) -> Tensor:
        # ComfyUI puts zeros for the prediction of a prompt that is not there.
        latest[0] = None if args.get(prompt) is None else _picture(args[key])
        return args["denoised"]

    model.set_model_sampler_post_cfg_function(note)
    return model, lambda: latest[0]


def _picture(latent: Tensor) -> Tensor:
    """A copy on the CPU; of the nested latents of newer versions the first, the picture."""
    picture = latent.unbind()[0] if getattr(latent, "is_nested", False) else latent
    return picture.detach().float().cpu().clone()
