"""Edge guidance in ComfyUI's sampler: z0' is moved after all guidance by prompts, then goes on."""

from dataclasses import dataclass
from typing import Any

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ....local_control.steering import step_towards_edges
from ..control.region import sigma_at
from .overlay import Overlay, from_frames, to_frames, union
from .prediction import Change, after_prediction


@dataclass(frozen=True)
class Guidance:
    """What pulls z0', how strongly, in which share of the sampling, and by which edge filter.

    overlay: the reference and the masks in which it acts.
    """

    overlay: Overlay
    scale: float
    percent_range: tuple[float, float]
    edge: str


def guide_edges(model: ModelPatcher, guidance: Guidance) -> ModelPatcher:
    """Return a clone of `model` with the guidance.

    Raises:
        ValueError: while sampling, if reference or mask do not fit the latent.
    """

    def begin(sampled: Any) -> Change:
        # Asked while sampling: nodes behind this one may change noise levels and latent format.
        overlay = guidance.overlay.on(sampled.latent_format)
        to_sigma = sampled.model_sampling.percent_to_sigma
        start, end = (sigma_at(percent, to_sigma) for percent in guidance.percent_range)

        def move(z0: Tensor, sigma: float) -> Tensor:
            if not guidance.scale or not end <= sigma <= start:
                return z0
            reference, masks = overlay.over(z0)
            moved = step_towards_edges(
                to_frames(z0), reference, union(masks), guidance.edge, guidance.scale
            )
            return from_frames(moved, z0)

        return move

    return after_prediction(model, begin)
