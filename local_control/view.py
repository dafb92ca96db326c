"""What one call of the model sees of the whole: a part of the picture, and some of its latents."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]

# Pixels along a latent cell's side at which masks are looked at, whatever the autoencoder's own.
MASK_CELL = 8


@dataclass(frozen=True)
class Window:
    """Which of `total` latents of a batch, or frames of a video, are seen: those at `indices`."""

    indices: tuple[int, ...]
    total: int
    of_frames: bool = False


@dataclass(frozen=True)
class View:
    """A part of a latent: (height, width) of it and of the whole, its corner (top, left) there.

    window: None where all latents and frames are seen.
    """

    size: Size
    whole: Size
    corner: Size = (0, 0)
    window: Window | None = None

    @property
    def is_whole(self) -> bool:
        """Return whether all of the picture is seen."""
        return self.size == self.whole

    def crop(self, picture: Tensor, cell: int) -> Tensor:
        """Return what is seen of a picture [B,C,H,W] of the whole, `cell` pixels a latent cell."""
        top, left = (side * cell for side in self.corner)
        height, width = (side * cell for side in self.size)
        return picture[..., top : top + height, left : left + width]

    def show(self, picture: Tensor, method: str, cell: int) -> Tensor:
        """Return what is seen of a picture [B,C,H,W] of the frame at any size, `cell` px a cell."""
        height, width = (side * cell for side in self.whole)
        return self.crop(cover(picture, (height, width), method), cell)


def cover(picture: Tensor, size: Size, method: str) -> Tensor:
    """Return a picture [B,C,h,w] scaled to cover `size`, centred, with what sticks out cut off.

    As ComfyUI scales the pictures of controls. method: one of torch's interpolation modes.
    """
    height, width = picture.shape[-2:]
    shape, wanted = width / height, size[1] / size[0]
    left = top = 0
    if shape > wanted:
        left = round((width - width * (wanted / shape)) / 2)
    elif shape < wanted:
        top = round((height - height * (shape / wanted)) / 2)
    kept = picture[..., top : height - top, left : width - left]
    return kept if kept.shape[-2:] == size else F.interpolate(kept, size, mode=method)
