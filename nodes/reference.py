"""What z0' is compared with: a latent, a picture, or the conditions of regions."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..local_control.region_mask import RegionMask, match_batch
from ..local_control.view import cover
from .comfy_types import from_comfy_image, from_comfy_latent, to_comfy_image
from .inputs import check_least
from .region import AnyRegion
from .sampler.z0.overlay import Overlay

_LEAST = 16  # pixels of a side; below two cells of a latent autoencoders have nothing to read


def reference_overlay(
    owner: str,
    masks: Sequence[RegionMask],
    latent: dict | None,
    image: Tensor | None,
    vae: Any,
    regions: Sequence[AnyRegion],
) -> Overlay:
    """Return the overlay of a latent, else of an image, else of the regions' own conditions.

    image: an IMAGE of any size; it is encoded once, and covers the result. owner: the node's name,
    for messages.

    Raises:
        ValueError: there is none of them, or no VAE to encode it, or the image is too small.
    """
    if latent is not None:
        return Overlay(from_comfy_latent(latent), masks, owner)
    if image is None and not regions:
        raise ValueError(
            f"{owner} has nothing to follow; connect a picture to image and a VAE to vae, or a "
            f"latent to reference."
        )
    if vae is None:
        what = "The conditions of the regions" if image is None else "The image"
        raise ValueError(
            f"{what} of {owner} must be encoded first; connect the VAE of the model to vae."
        )
    if image is not None:
        check_least(image, _LEAST, f"The image of {owner}")
    picture = together(regions) if image is None else from_comfy_image(image)
    encoded = vae.encode(to_comfy_image(picture))
    return Overlay(encoded.float().cpu(), masks, owner, covers=True)


def together(regions: Sequence[AnyRegion]) -> Tensor:
    """Return the conditions in one picture [B,3,H,W], each where its region acts, the first on top.

    As large as the first; B: of the longest batch.

    Raises:
        ValueError: batches are of several lengths.
    """
    size = (regions[0].condition.shape[-2], regions[0].condition.shape[-1])
    batch = max(len(region.condition) for region in regions)
    picture = torch.zeros(batch, 3, *size)
    for region in reversed(regions):
        rows = match_batch(region.condition, batch, "condition", "picture")
        condition = cover(rows, size, "area").expand(batch, 3, -1, -1)
        white = region.mask.at(size)
        if len(white) != batch:  # of frames of a video, which the picture is not of
            white = white.amax(0, keepdim=True)
        picture = picture * (1 - white) + condition * white
    return picture
