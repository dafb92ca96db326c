"""Watching a sampling: z0' of every step into a trace, and into a picture beside it."""

from collections.abc import Callable
from typing import Any

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..control.region import percent_at
from .live import LivePreview
from .sampling_run import Run, noting_runs, run_in
from .steps import watch_steps
from .trace import Sampling, Z0Trace

_KEY = "local_control_z0"
# Of the arguments of a post-CFG function: the prompt, and the prediction for it.
_PARTS = {"positive": ("cond", "cond_denoised"), "negative": ("uncond", "uncond_denoised")}

# The run and a latent of its shape on the CPU -> the preview of one sampling.
Preview = Callable[[Run, Tensor], LivePreview]


def watch_z0(
    model: ModelPatcher, trace: Z0Trace, preview: Preview | None = None, part: str = "result"
) -> ModelPatcher:
    """Return a clone of `model` that fills `trace`, and shows z0' or one prompt's part of it.

    part: result, positive or negative. The result is shown where that prompt was not asked, as the
    negative one at a guidance scale of 1.
    """
    if part in _PARTS:
        model = _noting_part(model, *_PARTS[part])

    def begin(run: Run, noise: Tensor, sigmas: Tensor) -> "_Z0Watcher":
        live = None if preview is None else preview(run, _copy(noise))
        return _Z0Watcher(run, sigmas, trace, live)

    return watch_steps(model, _KEY, begin)


class _Z0Watcher:
    """One sampling. The trace gets it once it has ended: what fails leaves nothing."""

    def __init__(self, run: Run, sigmas: Tensor, trace: Z0Trace, live: LivePreview | None) -> None:
        self._run = run
        self._sigmas = sigmas
        self._trace = trace
        self._live = live
        self._sampling = Sampling(run.model.latent_format)

    def step(self, step: int, steps: int, z0: Tensor) -> None:
        frame = _copy(z0)
        self._sampling.frames.append(frame)
        if self._live is not None:
            part = self._run.kept.get(_KEY)
            self._live.show(step, steps, frame if part is None else _copy(part))

    def end(self, samples: Tensor) -> None:
        to_sigma = self._run.model.model_sampling.percent_to_sigma
        levels = self._sigmas[:-1].tolist()
        self._sampling.percents = [percent_at(level, to_sigma) for level in levels]
        self._sampling.result = _copy(samples)
        self._trace.add(self._sampling)
        if self._live is not None:
            self._live.finish()

    def close(self) -> None:
        if self._live is not None:
            self._live.close()


def _noting_part(model: ModelPatcher, prompt: str, prediction: str) -> ModelPatcher:
    """Return a clone of `model` that keeps the last prediction for one prompt, None without one."""
    model = noting_runs(model)

    def note(args: dict[str, Any]) -> Tensor:
        run = run_in(args["model_options"])
        if run is not None:
            # ComfyUI puts zeros for the prediction of a prompt that is not there.
            is_asked = args.get(prompt) is not None
            run.kept[_KEY] = run.visible(args[prediction]) if is_asked else None
        return args["denoised"]

    model.set_model_sampler_post_cfg_function(note)
    return model


def _copy(latent: Tensor) -> Tensor:
    """Return a copy in fp32 on the CPU."""
    return latent.detach().float().cpu().clone()
