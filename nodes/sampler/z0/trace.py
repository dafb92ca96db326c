"""z0' of every step of the samplings with a watched model, kept for as long as memory allows."""

from dataclasses import dataclass, field
from typing import Any

import torch
from comfy_execution.utils import get_executing_context
from torch import Tensor

from .overlay import resize

# Bytes of the frames of all samplings that are kept; those of the latest are, however large.
KEPT_BYTES = 2**29
_EARLIER = 4  # samplings of earlier prompts: ComfyUI may take their results from its cache
_TOLERANCE = 1e-2  # absolute and relative; LATENTs may be of half precision


@dataclass
class Sampling:
    """z0' of one sampling that ran with a watched model.

    frames: one [B,C,(T),h,w] a step, fp32 on the CPU, in the model's latent space. result: what the
    sampler returned, in the same space. latent_format: brings both to that of VAEs and LATENTs.
    percents: the share of the sampling, 0 to 1, at which each noise level of the schedule lies.
    prompt: the id of ComfyUI's prompt in which it ran. is_cut: only the last frame is left.
    """

    latent_format: Any
    frames: list[Tensor] = field(default_factory=list)
    percents: list[float] = field(default_factory=list)
    result: Tensor | None = None
    prompt: str | None = None
    is_cut: bool = False

    def stacked(self) -> Tensor:
        """Return the frames in one tensor [S,B,C,(T),h,w], smaller ones at the size of the last."""
        last = self.frames[-1]
        size = (last.shape[-2], last.shape[-1])
        return torch.stack([resize(frame, size) for frame in self.frames])

    def cut(self) -> None:
        """Let go of all frames but the last, by which the sampling is still known."""
        self.is_cut = self.is_cut or len(self.frames) > 1
        del self.frames[:-1]

    def gap(self, samples: Tensor) -> float:
        """Return how far `samples`, from a LATENT, are from what a sampler may return of this.

        That is its result, or its last z0'. Infinite if they are neither.
        """
        ends = [*self.frames[-1:]] if self.result is None else [self.result, *self.frames[-1:]]
        gaps = (_gap(self.latent_format.process_out(end), samples) for end in ends)
        return min(gaps, default=torch.inf)


class Z0Trace:
    """The samplings that ran with a watched model, the newest last.

    All of the latest prompt, since ComfyUI samples lists one by one, and a few of earlier ones.
    """

    def __init__(self) -> None:
        self.samplings: list[Sampling] = []

    def add(self, sampling: Sampling) -> None:
        """Keep a sampling of the prompt that is running; older ones go, or lose frames, for it."""
        context = get_executing_context()
        sampling.prompt = None if context is None else context.prompt_id
        earlier = [one for one in self.samplings if one.prompt != sampling.prompt]
        current = [one for one in self.samplings if one.prompt == sampling.prompt]
        self.samplings = [*earlier[-_EARLIER:], *current, sampling]
        left = KEPT_BYTES
        for one in reversed(self.samplings):
            left -= sum(frame.nbytes for frame in one.frames)
            if left < 0 and one is not sampling:
                one.cut()

    def sampling_of(self, samples: Tensor) -> Sampling | None:
        """Return the one that `samples`, from a LATENT, came out of; the nearest of several."""
        newest_first = reversed(self.samplings)
        gap, nearest = min(
            ((one.gap(samples), one) for one in newest_first),
            key=lambda found: found[0],
            default=(torch.inf, None),
        )
        return nearest if gap < torch.inf else None


def _gap(a: Tensor, b: Tensor) -> float:
    """Return the largest difference of two latents, NaN equal to NaN; infinite if not the same."""
    if a.shape != b.shape or not torch.allclose(a, b, _TOLERANCE, _TOLERANCE, equal_nan=True):
        return torch.inf
    return (a - b).nan_to_num(0, 0, 0).abs().max().item() if a.numel() else 0.0
