"""z0' while sampling: one look at the predicted clean latent after every step, for any sampler."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from .live import LivePreview

_KEY = "local_control_z0"
_KEPT = 4
_KEPT_BYTES = 2**28


@dataclass
class Sampling:
    """z0' of one sampling that ran with a watched model.

    frames: one [B,C,h,w] a step, on the CPU, in the model's latent space. result: what the sampler
    returned, in the same space. latent_format: brings both to the space of VAEs and LATENTs.
    """

    latent_format: Any
    frames: list[Tensor] = field(default_factory=list)
    result: Tensor | None = None

    def made(self, samples: Tensor) -> bool:
        """Whether `samples`, from a LATENT, came out of this sampling."""
        ends = [end for end in (self.result, *self.frames[-1:]) if end is not None]
        return any(
            end.shape == samples.shape
            and torch.allclose(
                self.latent_format.process_out(end), samples, 1e-2, 1e-2, equal_nan=True
            )
            for end in ends
        )

    def size(self) -> int:
        """Bytes of its frames."""
        return sum(frame.nbytes for frame in self.frames)


class Z0Trace:
    """The latest samplings that ran with a watched model, the newest last.

    Several, since ComfyUI may take a result from its cache when newer ones have been sampled.
    """

    def __init__(self) -> None:
        self.samplings: list[Sampling] = []

    def start(self, latent_format: Any) -> Sampling:
        """A new one; the oldest go if there are too many, or they take too much memory."""
        kept = self.samplings[1 - _KEPT :]
        while sum(sampling.size() for sampling in kept) > _KEPT_BYTES:
            kept.pop(0)
        self.samplings = [*kept, Sampling(latent_format)]
        return self.samplings[-1]

    def sampling_of(self, samples: Tensor) -> Sampling | None:
        """The one that `samples`, from a LATENT, came out of."""
        found = (sampling for sampling in reversed(self.samplings) if sampling.made(samples))
        return next(found, None)


def watch_z0(
    model: ModelPatcher, trace: Z0Trace, preview: Callable[[Tensor], LivePreview] | None = None
) -> ModelPatcher:
    """A clone of `model` that fills `trace`.

    preview: makes a live preview for each sampling, of latents such as the one that it is given.
    """
    model = model.clone()
    picture = _pictures(model)

    # The sampler's arguments differ between versions of ComfyUI, so they are passed through.
    def wrapper(executor: Any, *args: Any, **kwargs: Any) -> Tensor:
        guider, sigmas, extra_args, callback, noise, *rest = args
        sampling = trace.start(guider.inner_model.latent_format)
        live = None if preview is None else preview(picture(noise))

        def watched(step: int, x0: Tensor, x: Tensor, steps: int) -> None:
            frame = picture(x0)
            sampling.frames.append(frame)
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
        sampling.result = picture(samples)
        return samples

    model.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, _KEY, wrapper)
    return model


def watch_parts(model: ModelPatcher, part: str) -> tuple[ModelPatcher, Callable[[], Tensor | None]]:
    """A clone of `model`, and what it predicted last for one prompt alone: positive or negative.

    None if it was not asked, as with the negative one at a guidance scale of 1.
    """
    model = model.clone()
    picture = _pictures(model)
    latest: list[Tensor | None] = [None]
    prompt, key = {
        "positive": ("cond", "cond_denoised"),
        "negative": ("uncond", "uncond_denoised"),
    }[part]

    def note(args: dict[str, Any]) -> Tensor:
        # ComfyUI puts zeros for the prediction of a prompt that is not there.
        latest[0] = None if args.get(prompt) is None else picture(args[key])
        return args["denoised"]

    model.set_model_sampler_post_cfg_function(note)
    return model, lambda: latest[0]


def _pictures(model: ModelPatcher) -> Callable[[Tensor], Tensor]:
    """A function from latents of a sampling with `model` to copies on the CPU.

    Of latents that ComfyUI packs into one while it samples (pictures and sound), the first.
    """
    shapes: list[Any] = []

    def note(executor: Any, *args: Any, **kwargs: Any) -> Any:
        shapes[:] = kwargs.get("latent_shapes") or ()
        return executor(*args, **kwargs)

    def picture(latent: Tensor) -> Tensor:
        first = comfy.utils.unpack_latents(latent, shapes)[0] if len(shapes) > 1 else latent
        return first.detach().float().cpu().clone()

    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, _KEY, note)
    return picture


def picture_of(latent: dict[str, Any]) -> Tensor:
    """The samples of a LATENT on the CPU; of several (pictures and sound) the first."""
    samples = latent["samples"]
    first = samples.unbind()[0] if getattr(samples, "is_nested", False) else samples
    return first.float().cpu()
