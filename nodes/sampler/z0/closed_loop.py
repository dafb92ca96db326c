"""Closed loops in ComfyUI's sampler: z0' of a step sets the regions' strengths of the next."""

from collections.abc import Sequence
from typing import Any

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ....local_control.steering import StrengthLoop, edge_alignment
from .overlay import Overlay, to_images
from .prediction import after_prediction


def watch_regions(
    model: ModelPatcher, reference: Tensor, masks: Sequence[Tensor], loops: Sequence[StrengthLoop]
) -> ModelPatcher:
    """A clone of `model` that updates each loop from z0' inside its mask; z0' goes on unchanged.

    Raises:
        ValueError: while sampling, if reference or masks do not fit the latent.
    """
    overlay = Overlay(model, reference, masks, "Closed Loop")

    def watch(z0: Tensor, _sigma: float, _model: Any) -> Tensor:
        fitting, placed = overlay.over(z0)
        images = to_images(z0)
        for mask, loop in zip(placed, loops, strict=True):
            loop.update(edge_alignment(images, fitting, mask).mean().item())
        return z0

    return after_prediction(model, watch)
