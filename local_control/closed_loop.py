"""A strength that follows what z0' shows: less once a region follows, more while it does not."""

import math
from dataclasses import dataclass

from torch import Tensor

from .edges import sobel_gradients
from .masks import resize_mask


def edge_alignment(z0: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """Cosine of the Sobel gradients of two latents inside a mask -> [B] in -1..1; 0 without edges.

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
    the sampler's hook share a loop; `acting` says whether the region has acted since the last
    update, so that nothing is learnt from steps without control.
    """

    target: float
    gain: float
    bounds: tuple[float, float]
    factor: float = 1.0
    acting: bool = False

    def reset(self) -> None:
        """Start a sampling."""
        self.factor, self.acting = 1.0, False

    def update(self, alignment: float) -> None:
        """Learn from z0' of a step."""
        if not self.acting:
            return
        low, high = self.bounds
        wanted = self.factor * math.exp(self.gain * (self.target - alignment))
        self.factor, self.acting = min(max(wanted, low), high), False
