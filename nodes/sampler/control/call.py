"""One call of a control: the latents, and what each prompt sees of the whole."""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ....local_control.region_mask import RegionMask
from ....local_control.view import View
from .view import frames_in


@dataclass(frozen=True)
class Call:
    """One call of `get_control`: the latents, how many of one prompt, what each prompt sees.

    precision: the type that the model computes in, to which it casts latents and controls.
    """

    x: Tensor
    t: Tensor
    cond: dict
    options: dict
    views: tuple[View, ...]
    precision: torch.dtype

    @property
    def batch(self) -> int:
        """Return the number of latents of one prompt."""
        return len(self.x) // len(self.views)

    @property
    def steps(self) -> int:
        """Return the number of frames of a video latent, or 1."""
        return frames_in(self.x.shape)

    @property
    def key(self) -> tuple[Hashable, ...]:
        """Return all that what a region adds depends on, but for the noise and the text."""
        return self.views, tuple(self.x.shape), self.x.dtype, self.x.device

    def gate(self, mask: RegionMask, tensor: Tensor) -> Tensor:
        """Return the mask at the resolution of a tensor of all prompts, to be multiplied with it.

        tensor [P*B,T,C], [P*B,C,h,w] or [P*B,C,T,h,w] -> the same with one channel, and 1 for the
        batch where all share one.

        Raises:
            ValueError: there is another number of masks than latents, or no grid has its tokens.
        """
        parts = [mask.as_factor(tensor.shape, v, self.batch, self.steps) for v in self.views]
        if len(set(self.views)) == len(parts[0]) == 1:
            return parts[0].to(tensor)  # one for all
        return torch.cat([p.expand(self.batch, *p.shape[1:]) for p in parts]).to(tensor)

    def apart(self) -> Iterator["Call"]:
        """Yield a call for each prompt alone."""
        for i, view in enumerate(self.views):
            own = slice(i * self.batch, (i + 1) * self.batch)

            def cut(value: object, own: slice = own) -> object:
                is_batch = torch.is_tensor(value) and len(value) == len(self.x)
                return value[own] if is_batch else value

            options = dict(self.options)
            for key in ("cond_or_uncond", "uuids"):
                if key in options:
                    options[key] = options[key][i : i + 1]
            values = {key: cut(value) for key, value in self.cond.items()}
            yield replace(
                self, x=self.x[own], t=self.t[own], cond=values, options=options, views=(view,)
            )
