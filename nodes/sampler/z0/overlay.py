"""A reference latent and masks laid over the latents of a sampling."""

from collections.abc import Sequence

import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ....local_control.region_mask import match_batch, resize_frames
from ....local_control.view import Size


class Overlay:
    """reference [1 or B,C,(T),h,w] as LATENTs hold it, masks [1 or B,1,H,W] in 0..1 each.

    `owner` names the node in what is refused. What it gives is the same at every step, so it is
    made once.
    """

    def __init__(
        self, model: ModelPatcher, reference: Tensor, masks: Sequence[Tensor], owner: str
    ) -> None:
        self._reference = model.get_model_object("latent_format").process_in(reference)
        self._masks = masks
        self._owner = owner
        self._placed: dict[tuple[object, ...], tuple[Tensor, list[Tensor]]] = {}

    def over(self, z0: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The reference [N,C,h,w], fp32, and the masks [1 or N,1,H,W] for `to_images(z0)`.

        Raises:
            ValueError: reference or masks do not fit the latent.
        """
        key = (tuple(z0.shape), z0.device)
        if key not in self._placed:
            self._placed.clear()
            masks = [place_mask(mask, z0) for mask in self._masks]
            self._placed[key] = self._fit(z0), masks
        return self._placed[key]

    def _fit(self, z0: Tensor) -> Tensor:
        reference = self._reference
        if reference.shape[1:] != z0.shape[1:] or len(reference) not in (1, len(z0)):
            raise ValueError(
                f"The reference of {self._owner} has the shape {tuple(reference.shape)}, but the "
                f"latent {tuple(z0.shape)}; encode a picture of the result's size with this "
                f"model's VAE."
            )
        return to_images(reference.to(device=z0.device, dtype=torch.float32).expand_as(z0))


def place_mask(mask: Tensor, z0: Tensor, size: Size | None = None) -> Tensor:
    """mask [1 or B,1,H,W] (of a video [T,1,H,W]) -> [1 or N,1,h,w] for `to_images(z0)`.

    size: another (height, width) than the latent's.

    Raises:
        ValueError: there are masks for another number of latents.
    """
    height, width = size or (z0.shape[-2], z0.shape[-1])
    placed = comfy.utils.common_upscale(mask, width, height, "area", "center").to(z0.device)
    if z0.ndim == 5 and z0.shape[2] > 1:  # masks of a video are one for each frame
        return resize_frames(placed, z0.shape[2]).repeat(len(z0), 1, 1, 1)
    return match_batch(placed, len(z0))


def to_images(z0: Tensor) -> Tensor:
    """Latents [B,C,h,w] as they are; frames of a video [B,C,T,h,w] as images [B*T,C,h,w]."""
    return z0 if z0.ndim == 4 else z0.movedim(2, 1).flatten(0, 1)


def from_images(images: Tensor, z0: Tensor) -> Tensor:
    """The reverse of `to_images`, in shape, dtype and place of `z0`."""
    if z0.ndim == 5:
        images = images.unflatten(0, (len(z0), z0.shape[2])).movedim(1, 2)
    return images.to(z0)
