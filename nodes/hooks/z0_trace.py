"""z0' while sampling: one look at the predicted clean latent after every step, for any sampler."""

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from comfy.model_management import InterruptProcessingException
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from PIL import Image
from torch import Tensor

log = logging.getLogger(__name__)

_KEY = "local_control_z0"

Renderer = Callable[[Tensor], Image.Image]
Sender = Callable[[int, int, Image.Image | None], None]


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


class LivePreview:
    """Renders z0' off the sampling thread and shows the newest finished picture.

    Sampling never waits for a picture: while one is being made, later frames are passed over. What
    is ready is sent from the sampling thread, as ComfyUI's progress wants it; the last frame is
    awaited, so that the finished image is seen.
    """

    def __init__(
        self,
        render: Renderer,
        send: Sender,
        every: int = 1,
        latest: Callable[[], Tensor | None] | None = None,
    ) -> None:
        self._render = render
        self._send = send
        self._every = max(1, every)
        self._latest = latest
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="z0-preview")
        self._job: Future[Image.Image] | None = None

    def show(self, step: int, steps: int, frame: Tensor) -> None:
        """Called after every step, on the sampling thread; `latest` may know a better frame."""
        found = self._latest() if self._latest is not None else None
        frame = frame if found is None else found
        last = step + 1 >= steps
        picture = self._finished(wait=last)
        if self._job is None and (last or step % self._every == 0):
            self._job = self._worker.submit(self._render, frame)
            if last:
                picture = self._finished(wait=True)
        self._send(step + 1, steps, picture)

    def close(self) -> None:
        """Give up what is not finished."""
        self._job = None
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _finished(self, wait: bool) -> Image.Image | None:
        job = self._job
        if job is None or not (wait or job.done()):
            return None
        self._job = None
        return job.result()


def watch_z0(
    model: ModelPatcher, trace: Z0Trace, preview: Callable[[], LivePreview] | None = None
) -> ModelPatcher:
    """A clone of `model` that fills `trace`; `preview` makes a live preview for each sampling."""
    model = model.clone()

    # The sampler's arguments differ between versions of ComfyUI, so they are passed through.
    def wrapper(executor: Any, *args: Any, **kwargs: Any) -> Tensor:
        guider, sigmas, extra_args, callback, *rest = args
        trace.start(guider.inner_model.latent_format)
        live = preview() if preview is not None else None

        def watched(step: int, x0: Tensor, x: Tensor, steps: int) -> None:
            frame = _picture(x0)
            trace.frames.append(frame)
            if live is not None:
                _show(live, step, steps, frame)
            if callback is not None:
                callback(step, x0, x, steps)

        try:
            samples = executor(guider, sigmas, extra_args, watched, *rest, **kwargs)
        finally:
            if live is not None:
                live.close()
        trace.result = _picture(samples)
        return samples

    model.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, _KEY, wrapper)
    return model


def watch_parts(model: ModelPatcher, part: str) -> tuple[ModelPatcher, Callable[[], Tensor | None]]:
    """A clone of `model`, and what it predicted last for one prompt alone: positive or negative.

    None at a guidance scale of 1, where ComfyUI does not compute the negative one.
    """
    model = model.clone()
    latest: list[Tensor | None] = [None]
    key = "cond_denoised" if part == "positive" else "uncond_denoised"

    def note(args: dict[str, Any]) -> Tensor:
        found = args.get(key)
        latest[0] = None if found is None else _picture(found)
        return args["denoised"]

    model.set_model_sampler_post_cfg_function(note)
    return model, lambda: latest[0]


def _picture(latent: Tensor) -> Tensor:
    """A copy on the CPU; of the nested latents of newer versions the first, the picture."""
    picture = latent.unbind()[0] if getattr(latent, "is_nested", False) else latent
    return picture.detach().float().cpu().clone()


def _show(live: LivePreview, step: int, steps: int, x0: Tensor) -> None:
    """A preview that fails must not end the sampling."""
    try:
        live.show(step, steps, x0)
    except InterruptProcessingException:
        raise  # the user has stopped the run
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
