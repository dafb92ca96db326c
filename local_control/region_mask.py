"""A mask that can be asked for itself wherever a model looks: on a grid, as tokens, for frames."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .masks import mask_on_grid
from .view import MASK_CELL, Size, View, Window, cover

# Sides of a token in latent cells, in the order in which they are tried.
PATCHES = (2, 1, 4, 8, 16, 32)


@dataclass(frozen=True, eq=False)
class RegionMask:
    """Where something acts: `white` [1 or B,1,H,W] in 0..1 over the whole frame, 1 = in full.

    Several masks are one for each latent of a batch or, of a video, any number of them that its
    frames share evenly. The frame is cut as controls' pictures are: scaled to cover, centred.
    """

    white: Tensor

    @classmethod
    def everywhere(cls) -> "RegionMask":
        """Return a mask that is white all over, for frames of any size."""
        return cls(torch.ones(1, 1, 1, 1))

    def on_grid(self, grid: Size, view: View, batch: int = 1, steps: int = 1) -> Tensor:
        """Return the mask on a grid (h, w) of cells that covers what is seen.

        batch: latents of one prompt; steps: frames of a video latent -> [1 or batch,1,h,w], or
        [steps,1,h,w] of a video.

        Raises:
            ValueError: there is another number of masks than latents.
        """
        cells = mask_on_grid(self.seen(view, batch, steps), grid)
        if steps == 1 and not _of_frames(view.window):
            return cells
        if view.window is None:
            return resize_frames(cells, steps)
        return in_window(resize_frames(cells, view.window.total), view.window, steps)

    def as_tokens(
        self,
        tokens: int,
        view: View,
        batch: int = 1,
        steps: int = 1,
        sides: Sequence[int] = PATCHES,
    ) -> Tensor:
        """Return the mask for a model's image tokens: patches of the latent, frame by frame.

        sides: of a patch, in latent cells, of which the first that gives so many tokens counts ->
        [1 or batch,tokens,1], or [1,tokens,1] of a video.

        Raises:
            ValueError: no patch size gives that many tokens.
        """
        for side in sides:
            grid = (-(-view.size[0] // side), -(-view.size[1] // side))
            if steps * grid[0] * grid[1] == tokens:
                break
        else:
            raise ValueError(
                f"This control returns {tokens} tokens for a latent of {view.size[1]} x "
                f"{view.size[0]}, which is no grid of patches; it cannot be gated by a mask."
            )
        cells = self.on_grid(grid, view, batch, steps).flatten(2).transpose(1, 2)
        return cells if steps == 1 else cells.reshape(1, tokens, 1)

    def as_factor(self, shape: Sequence[int], view: View, batch: int = 1, steps: int = 1) -> Tensor:
        """Return the mask at the resolution of a tensor of `shape`, to be multiplied with it.

        Tokens [B,T,C], maps [B,C,h,w] or maps of frames [B,C,T,h,w] -> as many dimensions, of
        which the channels are one.
        """
        if len(shape) == 3:
            return self.as_tokens(shape[1], view, batch, steps)
        cells = self.on_grid((shape[-2], shape[-1]), view, batch, steps)
        if len(shape) == 4:
            return cells
        # [T,1,h,w] -> [1,1,T,h,w], or [B,1,h,w] -> [B,1,1,h,w]
        return cells.movedim(0, 1)[None] if steps > 1 else cells[:, :, None]

    def at(self, size: Size) -> Tensor:
        """Return all masks at the size (h, w) of pictures of the whole frame: [1 or B,1,h,w]."""
        return cover(self.white, size, "area")

    def union(self, size: Size) -> Tensor:
        """Return where any of the masks is white, at a size (h, w): [1,1,h,w]."""
        return self.at(size).amax(0, keepdim=True)

    def seen(self, view: View, batch: int = 1, steps: int = 1) -> Tensor:
        """Return what is seen of it, up to eight pixels a latent cell: [1 or batch,1,H,W].

        Of a video all masks, whichever frames are seen; arguments as `on_grid` has them.

        Raises:
            ValueError: there is another number of masks than latents.
        """
        white = self.white
        if steps == 1 and not _of_frames(view.window):
            white = take_rows(white, view.window, batch, "mask")
        side = max(white.shape[-2] / view.whole[0], white.shape[-1] / view.whole[1])
        # Finer masks bring nothing, and coarser ones are not enlarged for it.
        cell = next(cell for cell in (1, 2, 4, MASK_CELL) if cell >= side or cell == MASK_CELL)
        return view.show(white, "area", cell)


def take_rows(rows: Tensor, window: Window | None, batch: int, what: str) -> Tensor:
    """Return the rows of the latents that are seen, of one for all or one for each.

    rows [1 or B,...] -> [1 or batch,...]; what: the noun of the message.

    Raises:
        ValueError: there are neither one nor as many as latents in all.
    """
    match_batch(rows, batch if window is None else window.total, what)
    return rows if window is None else in_window(rows, window, batch)


def match_batch(rows: Tensor, batch: int, what: str = "mask", of: str = "latent") -> Tensor:
    """Return rows [1 or batch,...] as they are: one serves the whole batch, or one each.

    what, of: the nouns of the message.

    Raises:
        ValueError: any other number.
    """
    if len(rows) not in (1, batch):
        raise ValueError(
            f"There are {len(rows)} {what}s for {batch} {of}{'s' if batch > 1 else ''}; give one "
            f"{what} for all, or one for each {of}."
        )
    return rows


def resize_frames(masks: Tensor, frames: int) -> Tensor:
    """Return masks of a video [T,1,H,W] as [1 or frames,1,H,W]: means of what a frame spans."""
    if len(masks) in (1, frames):
        return masks.expand(frames, -1, -1, -1)
    size = (frames, masks.shape[-2], masks.shape[-1])
    return F.interpolate(masks.movedim(0, 1)[None], size, mode="area")[0].movedim(1, 0)


def in_window(rows: Tensor, window: Window, count: int) -> Tensor:
    """Return the `count` rows that a window sees of [1 or total,...]: [1 or count,...].

    Guides that ComfyUI appends to a window go with its last row.
    """
    if len(rows) == 1:
        return rows
    indices = list(window.indices)
    return rows[indices + indices[-1:] * (count - len(indices))]


def _of_frames(window: Window | None) -> bool:
    return window is not None and window.of_frames
