"""How far z0' is from the edges of a reference, and what moves it there while it is sampled."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .losses import masked_error
from .masks import resize_mask


def edge_loss(z0: Tensor, reference: Tensor, mask: Tensor, edge: str = "sobel") -> Tensor:
    """Return the mean squared difference [B] of edges over the mask's area, as in the z0 loss.

    z0 and reference [B,C,h,w], mask [1 or B,1,H,W] in 0..1 at any size.
    """
    size = (z0.shape[-2], z0.shape[-1])
    inside = resize_mask(mask, size).expand(len(z0), -1, -1, -1)
    return masked_error(z0, reference, inside, edge)


@dataclass(frozen=True)
class EdgeCurve:
    """Edge loss a step, inside the mask and outside; NaN where there is no such side."""

    inside: list[float]
    outside: list[float]


def edge_curve(frames: Sequence[Tensor], reference: Tensor, mask: Tensor) -> EdgeCurve:
    """Return the edge losses of one z0' [B,C,h,w] a step, each a mean over the batch.

    reference [1 or B,C,h,w], mask [1 or B,1,H,W] in 0..1.
    """

    def losses(side: Tensor) -> list[float]:
        if side.max() <= 0:
            return [math.nan] * len(frames)
        return [edge_loss(f, reference.expand_as(f), side).mean().item() for f in frames]

    return EdgeCurve(losses(mask), losses(1 - mask))


def step_towards_edges(
    z0: Tensor, reference: Tensor, mask: Tensor, edge: str = "sobel", scale: float = 1.0
) -> Tensor:
    """Return z0 [B,C,h,w] moved by `scale` Polyak steps, fp32.

    A Polyak step is loss / |gradient|^2 along the gradient: the length that would reach zero if the
    loss fell on as steeply. It depends neither on the size of the latent nor on its scale, so one
    `scale` serves all resolutions and families. Only the latent is differentiated, never a model.
    """
    # Tensors of inference mode cannot be differentiated; their copies can.
    with torch.inference_mode(False), torch.enable_grad():
        moved = z0.detach().float().clone().requires_grad_(True)
        fixed, inside = reference.detach().float().clone(), mask.detach().float().clone()
        loss = edge_loss(moved, fixed, inside, edge)
        (gradient,) = torch.autograd.grad(loss.sum(), moved)
    norm = gradient.square().sum((1, 2, 3))
    length = torch.where(norm > 0, loss.detach() / norm.clamp(min=1e-20), 0)
    return z0.float() - scale * length.view(-1, 1, 1, 1) * gradient
