"""How far z0' is from the edges of a reference, and what steers it there while it is sampled.

Either z0' itself moves, down the gradient of its error, or a control's strength follows what z0'
shows: less once a region follows its reference, more while it does not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .edges import sobel_gradients
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


def edge_alignment(z0: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """Return the cosine of two latents' Sobel gradients inside a mask: [B] in -1..1, 0 if none.

    z0 and reference [B,C,h,w], mask [1 or B,1,H,W] in 0..1 at any size. It asks where edges are and
    which way they go, not how strong they are: a blurred z0' of an early step can be aligned.
    """
    inside = resize_mask(mask, (z0.shape[-2], z0.shape[-1])).to(z0.device)
    a, b = (sobel_gradients(x.float()) * inside for x in (z0, reference))
    dims = (1, 2, 3)
    lengths = a.square().sum(dims).sqrt() * b.square().sum(dims).sqrt()
    return (a * b).sum(dims) / lengths.clamp(min=1e-12)


@dataclass
class StrengthLoop:
    """A factor of the strength that grows while the alignment is below `target` and shrinks above.

    gain: the factor's change of logarithm a step for an alignment that is off by 1. A region and
    what watches the sampling share a loop: at its start the region is prepared and calls `reset`,
    then the watcher calls `watch`; at each step the region takes the factor, then the watcher
    updates it. acting: whether it was taken since the last update, so that nothing is learnt from
    steps without control.
    """

    target: float
    gain: float
    bounds: tuple[float, float]
    factor: float = 1.0
    acting: bool = False
    _is_prepared: bool = False
    _is_watched: bool = False

    def reset(self) -> None:
        """Start a sampling."""
        self.factor, self.acting = 1.0, False
        self._is_prepared, self._is_watched = True, False

    def watch(self) -> bool:
        """Return whether the region controls the sampling that starts, and watch it from now on."""
        self._is_watched, self._is_prepared = self._is_prepared, False
        return self._is_watched

    def leave(self) -> None:
        """End a sampling."""
        self._is_watched = False

    def take(self) -> float:
        """Return the factor for a step in which the region acts.

        Raises:
            ValueError: nothing watches the sampling, so that the factor would never change.
        """
        if not self._is_watched:
            raise ValueError(
                "A region of Closed Loop controls a sampling with another model than that node's, "
                "so nothing would set its strength; connect the model of Closed Loop to this "
                "sampler, or give Apply Local Control the regions from before Closed Loop."
            )
        self.acting = True
        return self.factor

    def update(self, alignment: float) -> None:
        """Learn from z0' of a step."""
        if not self.acting:
            return
        low, high = self.bounds
        wanted = self.factor * math.exp(self.gain * (self.target - alignment))
        self.factor, self.acting = min(max(wanted, low), high), False
