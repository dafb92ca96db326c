"""z0' of every step of the samplings with a watched model, kept for as long as memory allows."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .overlay import resize

# Bytes of all samplings that are kept; the latest is, however large.
KEPT_BYTES = 2**29
_REMEMBERED = 4096  # samplings whose frames have gone
_MARKS = 64  # values of a latent by which they are known
_TOLERANCE = 1e-2  # absolute and relative; LATENTs may be of half precision


@dataclass
class Sampling:
    """z0' of one sampling that ran with a watched model.

    frames: one [B,C,(T),h,w] a step, fp32 on the CPU, in the model's latent space. result: what the
    sampler returned, in the same space. latent_format: brings both to that of VAEs and LATENTs.
    """

    latent_format: Any
    frames: list[Tensor] = field(default_factory=list)
    result: Tensor | None = None

    def stacked(self) -> Tensor:
        """The frames in one tensor [S,B,C,(T),h,w], smaller ones at the size of the last."""
        last = self.frames[-1]
        size = (last.shape[-2], last.shape[-1])
        return torch.stack([resize(frame, size) for frame in self.frames])

    def ends(self) -> list[Tensor]:
        """What a sampler may return of it: the result, and the last z0', both as LATENTs are."""
        found = [*self.frames[-1:]] if self.result is None else [self.result, *self.frames[-1:]]
        return [self.latent_format.process_out(end) for end in found]

    def size(self) -> int:
        """Bytes of its latents."""
        return sum(latent.nbytes for latent in (self.result, *self.frames) if latent is not None)


class Z0Trace:
    """The latest samplings that ran with a watched model, the newest last.

    Several, since ComfyUI samples lists one by one, and may take a result from its cache when newer
    ones have been sampled.
    """

    def __init__(self) -> None:
        self.samplings: list[Sampling] = []
        self._gone: deque[list[tuple[torch.Size, Tensor]]] = deque(maxlen=_REMEMBERED)

    def add(self, sampling: Sampling) -> None:
        """Keep a sampling; the oldest go while all take too much memory."""
        self.samplings.append(sampling)
        while len(self.samplings) > 1 and sum(s.size() for s in self.samplings) > KEPT_BYTES:
            ends = self.samplings.pop(0).ends()
            self._gone.append([(end.shape, _marks(end)) for end in ends])

    def sampling_of(self, samples: Tensor) -> Sampling | None:
        """The one that `samples`, from a LATENT, came out of; the nearest of several."""
        gaps = [
            (min((_gap(end, samples) for end in sampling.ends()), default=torch.inf), sampling)
            for sampling in reversed(self.samplings)
        ]
        gap, nearest = min(gaps, key=lambda found: found[0], default=(torch.inf, None))
        return nearest if gap < torch.inf else None

    def has_lost(self, samples: Tensor) -> bool:
        """Whether `samples` came out of a sampling that had to go."""
        return any(
            shape == samples.shape and _gap(marks, _marks(samples)) < torch.inf
            for ends in self._gone
            for shape, marks in ends
        )


def _marks(latent: Tensor) -> Tensor:
    """Some values of a latent, evenly from its first to its last."""
    values = latent.flatten()
    return values[torch.linspace(0, len(values) - 1, min(_MARKS, len(values))).long()]


def _gap(a: Tensor, b: Tensor) -> float:
    """The largest difference of two latents, NaN being equal to NaN; infinite if one is another."""
    if a.shape != b.shape or not torch.allclose(a, b, _TOLERANCE, _TOLERANCE, equal_nan=True):
        return torch.inf
    return (a - b).nan_to_num(0, 0, 0).abs().max().item() if a.numel() else 0.0
