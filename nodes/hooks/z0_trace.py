"""z0' while sampling: one look at the predicted clean latent after every step, for any sampler."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from PIL import Image
from torch import Tensor

log = logging.getLogger(__name__)

_KEY = "local_control_z0"

Watcher = Callable[[int, int, Tensor], None]


class Z0Trace:
    """z0' of the latest sampling that ran with a watched model.

    frames: one [B,C,h,w] a step, on the CPU, in the model's latent space. result: what the sampler
    returned, in the same space. latent_format: brings both to the space of VAEs and LATENT sockets.
    """

    def __init__(self) -> None:
        self.start(None)

    def start(self, latent_format: Any) -> None:
        """Forget the sampling before."""
        self.latent_format = latent_format
        self.frames: list[Tensor] = []
        self.result: Tensor | None = None

    def belongs_to(self, samples: Tensor) -> bool:
        """Whether `samples`, from a LATENT socket, came out of the traced sampling."""
        ends = [self.result, *self.frames[-1:]]
        return any(
            end is not None
            and end.shape == samples.shape
            and torch.allclose(self.latent_format.process_out(end), samples, rtol=1e-2, atol=1e-2)
            for end in ends
        )


def watch_z0(model: ModelPatcher, trace: Z0Trace, watcher: Watcher | None = None) -> ModelPatcher:
    """A clone of `model` that fills `trace`; `watcher` sees (step, steps, z0' in model space)."""
    model = model.clone()

    # The sampler's arguments differ between versions of ComfyUI, so they are passed through.
    def wrapper(executor: Any, *args: Any, **kwargs: Any) -> Tensor:
        guider, sigmas, extra_args, callback, *rest = args
        trace.start(guider.inner_model.latent_format)

        def watched(step: int, x0: Tensor, x: Tensor, steps: int) -> None:
            frame = _picture(x0)
            trace.frames.append(frame)
            if watcher is not None:
                _watch(watcher, step, steps, frame)
            if callback is not None:
                callback(step, x0, x, steps)

        samples = executor(guider, sigmas, extra_args, watched, *rest, **kwargs)
        trace.result = _picture(samples)
        return samples

    model.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, _KEY, wrapper)
    return model


def _picture(latent: Tensor) -> Tensor:
    """A copy on the CPU; of the nested latents of newer versions the first, the picture."""
    picture = latent.unbind()[0] if getattr(latent, "is_nested", False) else latent
    return picture.detach().float().cpu().clone()


def _watch(watcher: Watcher, step: int, steps: int, x0: Tensor) -> None:
    """A preview that fails must not end the sampling."""
    try:
        watcher(step, steps, x0)
    except Exception:
        log.exception("The z0' preview failed at step %d; sampling goes on.", step + 1)


def latent_to_rgb(x0: Tensor, latent_format: Any) -> Tensor:
    """x0 [B,C,h,w] in model space -> [B,h,w,3] in 0..1 by the latent format's linear colours."""
    factors = getattr(latent_format, "latent_rgb_factors", None)
    bias = getattr(latent_format, "latent_rgb_factors_bias", None)
    if x0.ndim == 5:  # video: the first frame
        x0 = x0[:, :, 0]
    if factors is None:
        rgb = x0[:, [min(c, x0.shape[1] - 1) for c in range(3)]].movedim(1, -1)
    else:
        rgb = x0.movedim(1, -1) @ torch.tensor(factors)
        if bias is not None:
            rgb = rgb + torch.tensor(bias)
    return rgb.add(1).div(2).clamp(0, 1)


def to_picture(rgb: Tensor, scale: int = 8) -> Image.Image:
    """rgb [B,h,w,3] in 0..1 -> the batch side by side, enlarged without smoothing."""
    row = torch.cat(list(rgb), dim=1)
    picture = Image.fromarray((row * 255).round().byte().numpy())
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
