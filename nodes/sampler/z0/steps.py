"""The steps of a sampling, one look at each, however often the sampler asks the model for it."""

from collections.abc import Callable
from typing import Any, Protocol

from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from .sampling_run import Run, noting_runs, run_of


class Watcher(Protocol):
    """What looks at one sampling, on its thread. Latents are those of the pictures alone."""

    def step(self, step: int, steps: int, z0: Tensor) -> None:
        """Look at a step, from 0, once it is done; z0 must not be changed."""

    def end(self, samples: Tensor) -> None:
        """Look at what the sampling has returned; not called after a failure."""

    def close(self) -> None:
        """Let go of the sampling; called last, whatever has happened."""


def watch_steps(
    model: ModelPatcher, key: str, begin: Callable[[Run, Tensor, Tensor], Watcher]
) -> ModelPatcher:
    """Return a clone of `model` with a watcher of each sampling.

    begin: makes it, after the controls are prepared, of the run, a latent of its shape, and the
    noise level of each step and of the end.
    """
    model = noting_runs(model)

    # The sampler's arguments differ between versions of ComfyUI, so they are passed through.
    def wrapper(executor: Any, *args: Any, **kwargs: Any) -> Tensor:
        guider, sigmas, extra_args, callback, noise, *rest = args
        run = run_of(guider)
        watcher = begin(run, run.visible(noise), sigmas)

        def watched(step: int, x0: Tensor, x: Tensor, steps: int) -> None:
            watcher.step(step, steps, run.visible(x0))
            if callback is not None:
                callback(step, x0, x, steps)

        try:
            samples = executor(guider, sigmas, extra_args, watched, noise, *rest, **kwargs)
            watcher.end(run.visible(samples))
        finally:
            watcher.close()
        return samples

    model.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, key, wrapper)
    return model
