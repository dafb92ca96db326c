"""Closed loops in ComfyUI's sampler: z0' of a step sets the regions' strengths of the next."""

from collections.abc import Sequence

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ....local_control.steering import StrengthLoop, edge_alignment
from .overlay import Overlay, PlacedOverlay, to_images
from .sampling_run import Run
from .steps import watch_steps

_KEY = "local_control_closed_loop"


def watch_regions(
    model: ModelPatcher, overlay: Overlay, loops: Sequence[StrengthLoop]
) -> ModelPatcher:
    """Return a clone of `model` that updates each loop once a step from z0' inside its mask.

    Raises:
        ValueError: while sampling, if none of the loops' regions controls it, or if the reference
            or the masks do not fit the latent.
    """

    def begin(run: Run, *_: Tensor) -> "LoopWatcher":
        return LoopWatcher(overlay.on(run.model.latent_format), loops)

    return watch_steps(model, _KEY, begin)


class LoopWatcher:
    """The loops of one node in one sampling."""

    def __init__(self, overlay: PlacedOverlay, loops: Sequence[StrengthLoop]) -> None:
        self._overlay = overlay
        self._loops = loops
        are_used = [loop.watch() for loop in loops]
        if loops and not any(are_used):
            raise ValueError(
                "The model of Closed Loop is sampled without its regions, so there is no strength "
                "to set; connect its regions to Apply Local Control, and the conditioning of that "
                "to this sampler, or give the sampler the model from before Closed Loop."
            )

    def step(self, step: int, steps: int, z0: Tensor) -> None:
        """Let each loop learn from z0' inside its mask; those whose regions do not act do not."""
        if not any(loop.acting for loop in self._loops):
            return
        reference, masks = self._overlay.over(z0)
        images = to_images(z0)
        for mask, loop in zip(masks, self._loops, strict=True):
            if loop.acting:
                loop.update(edge_alignment(images, reference, mask).mean().item())

    def end(self, samples: Tensor) -> None:
        """Learn no more."""

    def close(self) -> None:
        """Watch no longer: the next sampling begins anew."""
        for loop in self._loops:
            loop.leave()
