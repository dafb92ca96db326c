"""Edge guidance in ComfyUI's sampler: z0' is moved after all guidance by prompts, then goes on."""

from dataclasses import dataclass
from typing import Any

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ....local_control.steering import step_towards_edges
from ..control.region import sigma_at
from .overlay import Overlay, from_images, to_images
from .prediction import after_prediction


@dataclass(frozen=True)
class Guidance:
    """reference [1 or B,C,(T),h,w] as LATENTs hold it, mask [1 or B,1,H,W] in 0..1."""

    reference: Tensor
    mask: Tensor
    scale: float
    percent_range: tuple[float, float]
    edge: str


def guide_edges(model: ModelPatcher, guidance: Guidance) -> ModelPatcher:
    """A clone of `model` with the guidance.

    Raises:
        ValueError: while sampling, if reference or mask do not fit the latent.
    """
    overlay = Overlay(model, guidance.reference, [guidance.mask], "Edge Guidance")

    def move(z0: Tensor, sigma: float, sampled: Any) -> Tensor:
        # Asked while sampling, since nodes behind this one may change the noise levels.
        to_sigma = sampled.model_sampling.percent_to_sigma
        start, end = (sigma_at(percent, to_sigma) for percent in guidance.percent_range)
        if not guidance.scale or not end <= sigma <= start:
            return z0
        reference, (mask,) = overlay.over(z0)
        moved = step_towards_edges(to_images(z0), reference, mask, guidance.edge, guidance.scale)
        return from_images(moved, z0)

    return after_prediction(model, move)
