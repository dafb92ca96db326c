"""A mask for the image tokens of a model without convolutions."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ....local_control.region_mask import RegionMask
from .view import check_pictures, frames_in, patch_side, views_of


class TokenGate:
    """A mask for a model's image tokens, kept for each device: the same in all blocks and steps."""

    def __init__(self, mask: RegionMask) -> None:
        self._mask = mask
        self._made: dict[torch.device, tuple[object, Tensor]] = {}

    def let_in(
        self,
        before: Tensor,
        after: Tensor,
        shape: Sequence[int],
        options: dict[str, Any],
        start: int = 0,
    ) -> Tensor:
        """Return tokens as they are `after` a patch inside the mask, and as `before` it outside.

        before, after: [B,T,C] or [B,T,h,w,C]; shape: the latent's; start: the latent's first token.
        Tokens that have no place in the picture, of padding and references, take the mean of both
        by the white share of the mask.
        """
        gate = self.factor(before, shape, options, before[0, ..., 0].numel(), start)
        return torch.lerp(before, after, gate.reshape(*before.shape[:-1], 1))

    def factor(
        self,
        like: Tensor,
        shape: Sequence[int],
        options: dict[str, Any],
        tokens: int | None = None,
        start: int = 0,
    ) -> Tensor:
        """Return the mask for `tokens` (those of the latent alone, if None) [B,T,1].

        like: a tensor of the batch's length, device and type; the rest as `let_in` has it.
        """
        check_pictures(shape, "Gate Model Patches")
        count = len(options.get("cond_or_uncond", ())) or 1
        views = views_of((len(like), *shape[1:]), count, options)
        key = (tuple(shape), views, len(like), tokens, start, like.dtype)
        known, gate = self._made.get(like.device, (None, like))
        if known != key:
            batch, steps, side = len(like) // count, frames_in(shape), patch_side(options)
            rows = []
            for view in views:
                grid = (-(-view.size[0] // side), -(-view.size[1] // side))
                cells = self._mask.as_tokens(steps * grid[0] * grid[1], view, batch, steps, [side])
                if tokens is not None:
                    row = cells.mean(1, keepdim=True).repeat(1, tokens, 1)
                    row[:, start : start + cells.shape[1]] = cells
                    cells = row
                rows.append(cells.expand(batch, -1, -1))
            gate = torch.cat(rows).to(like)
            self._made[like.device] = key, gate
        return gate
