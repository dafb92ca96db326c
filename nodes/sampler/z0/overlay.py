"""A reference latent and masks laid over the latents of a sampling."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ....local_control.region_mask import RegionMask, match_batch, resize_frames
from ....local_control.view import Size, View, cover
from ..control.view import check_pictures, frames_in, pixels_per_cell

_PICTURES, _VIDEOS = 4, 5  # dimensions of their latents


@dataclass(frozen=True)
class Overlay:
    """What a node was given: reference [1 or B,C,(T),h,w] as LATENTs hold it, fp32, and masks.

    owner: the node's name, for messages. covers: the reference is a picture's, which is scaled to
    cover the result; others must be of its size.
    """

    reference: Tensor
    masks: Sequence[RegionMask]
    owner: str
    covers: bool = False

    def on(self, latent_format: Any) -> "PlacedOverlay":
        """Return the overlay for one sampling of a model with this latent format."""
        reference = latent_format.process_in(self.reference)
        cell = pixels_per_cell(latent_format)
        return PlacedOverlay(reference, self.masks, self.owner, cell, self.covers)


class PlacedOverlay:
    """An overlay in one sampling. What it gives is the same at every step, so it is made once.

    reference [1 or B,C,(T),h,w], fp32, in the model's latent space; masks, owner and covers as an
    `Overlay` has them. cell: pixels along a latent's cell, for messages.
    """

    def __init__(
        self,
        reference: Tensor,
        masks: Sequence[RegionMask],
        owner: str,
        cell: int,
        covers: bool = False,
    ) -> None:
        self._reference = reference
        self._masks = masks
        self._owner = owner
        self._cell = cell
        self._covers = covers
        self._start: Size | None = None
        self._placed: dict[tuple[object, ...], tuple[Tensor, list[Tensor]]] = {}

    def over(self, z0: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the reference [N,C,h,w], fp32, and the masks [1 or N,1,h,w] for `to_frames(z0)`.

        Raises:
            ValueError: z0 is of no pictures, or reference or masks do not fit it.
        """
        key = (tuple(z0.shape), z0.device)
        if key not in self._placed:
            self._placed.clear()
            self._placed[key] = self._fit(z0), [place_mask(m, z0) for m in self._masks]
        return self._placed[key]

    def _fit(self, z0: Tensor) -> Tensor:
        check_pictures(z0.shape, self._owner)
        size = (z0.shape[-2], z0.shape[-1])
        # Some samplers let the latent grow: the reference fits where it starts, and grows with it.
        self._start = self._start or size
        reference = self._reference
        if z0.ndim == _VIDEOS and reference.ndim == _PICTURES:
            reference = reference[:, :, None]
        if self._covers:
            reference = cover_frames(reference, z0, self._start)
        wanted = (*z0.shape[1:-2], *self._start)
        if reference.shape[1:] != wanted:
            raise ValueError(
                f"The reference of {self._owner} is {in_words(reference, self._cell)}, but the "
                f"result is {in_words(z0, self._cell)}; encode a picture of the result's size with "
                f"this model's VAE."
            )
        match_batch(reference, len(z0), "reference")
        placed = resize(reference.to(z0.device), size)
        return to_frames(placed.expand_as(z0))


def place_mask(mask: RegionMask, z0: Tensor) -> Tensor:
    """Return a mask on the latent's cells: [1 or N,1,h,w] for `to_frames(z0)`.

    Raises:
        ValueError: there are masks for another number of latents.
    """
    size = (z0.shape[-2], z0.shape[-1])
    frames = frames_in(z0.shape)
    cells = mask.on_grid(size, View(size, size), len(z0), frames).to(z0.device)
    return cells if len(cells) == 1 or frames == 1 else cells.repeat(len(z0), 1, 1, 1)


def place_first(mask: RegionMask, latent: Tensor, size: Size) -> Tensor:
    """Return a mask at the size (h, w) of a latent's pictures, of a video of its first frames.

    [1 or B,1,h,w]: one for all, or one for each.

    Raises:
        ValueError: there are masks for another number of latents.
    """
    frames = frames_in(latent.shape)
    white = mask.at(size)
    return resize_frames(white, frames)[:1] if frames > 1 else match_batch(white, len(latent))


def union(placed: Sequence[Tensor]) -> Tensor:
    """Return where any mask is that an overlay has placed, [1 or N,1,h,w]; all over without."""
    if not placed:
        return torch.ones(1, 1, 1, 1)
    most = max(len(cells) for cells in placed)
    return torch.stack([cells.expand(most, -1, -1, -1) for cells in placed]).amax(0)


def cover_frames(reference: Tensor, z0: Tensor, size: Size) -> Tensor:
    """Return a reference [1 or B,C,(T),h,w] scaled to cover (height, width), a frame for each."""
    images = cover(to_frames(reference), size, "bicubic")
    if reference.ndim == _PICTURES:
        return images
    frames = images.unflatten(0, (len(reference), -1)).movedim(1, 2)
    return frames.expand(-1, -1, z0.shape[2], -1, -1) if frames.shape[2] == 1 else frames


def in_words(latent: Tensor, cell: int) -> str:
    """Return what a latent [B,C,(T),h,w] is for a person; cell: pixels along one of its own."""
    size = f"{cell * latent.shape[-1]} x {cell * latent.shape[-2]} pixels"
    frames = f", {latent.shape[2]} latent frames" if latent.ndim == _VIDEOS else ""
    return f"{size}{frames} ({len(latent)} of them, {latent.shape[1]} latent channels)"


def resize(latent: Tensor, size: Size) -> Tensor:
    """Return latents [B,C,(T),h,w] at another (height, width); as they are if they have it."""
    if (latent.shape[-2], latent.shape[-1]) == size:
        return latent
    frames = F.interpolate(to_frames(latent), size, mode="bilinear", antialias=True)
    if latent.ndim == _VIDEOS:
        return frames.unflatten(0, (len(latent), latent.shape[2])).movedim(1, 2)
    return frames


def to_frames(z0: Tensor) -> Tensor:
    """Return latents [B,C,h,w] as they are; frames of a video [B,C,T,h,w] as [B*T,C,h,w]."""
    return z0 if z0.ndim == _PICTURES else z0.movedim(2, 1).flatten(0, 1)


def from_frames(frames: Tensor, z0: Tensor) -> Tensor:
    """Return the reverse of `to_frames`, in shape, dtype and place of `z0`."""
    if z0.ndim == _VIDEOS:
        frames = frames.unflatten(0, (len(z0), z0.shape[2])).movedim(1, 2)
    return frames.to(z0)
