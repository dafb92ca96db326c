"""What a run reads from disk instead of making it anew: latents, conditions, masks, text.

An entry's name is a digest of what it was made from, contents and not names of files, so a stale
one is never found: another autoencoder, crop, caption, picture, condition or mask has another name.
"""

from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..data.augment import Crop, crop_sample, plan_crop
from ..data.buckets import Assigned
from ..data.checked import Checked
from ..data.condition import Condition
from ..data.digests import digest, number
from ..data.random_streams import CROP, generator
from ..data.records import DatasetError, Digests
from ..data.words import shown
from .png import from_png
from .store import TensorStore


@dataclass(frozen=True)
class PreparedCrop:
    """One crop of a picture: latent [C,h,w], condition [Cin,H,W] and masks [K,H,W] in 0..1.

    time_ids [6]: original size, crop corner and size as (height, width), as SDXL is told them.
    """

    latent: Tensor
    condition: Tensor
    masks: np.ndarray
    time_ids: Tensor


@dataclass(frozen=True)
class Part:
    """Samples with the bucket of each, and how many crops of each are cached."""

    data: Checked
    buckets: Assigned
    variants: int = 1


@dataclass(frozen=True)
class Making:
    """How a sample becomes what is kept of it.

    centred, flip: how crops are drawn. condition: what is computed from pictures that bring none.
    invert: masks are black = controlled.
    """

    centred: bool = False
    flip: bool = False
    condition: Condition = field(default_factory=Condition)
    invert: bool = False

    def crop(self, part: Part, index: int, variant: int) -> Crop:
        """Return where a variant of a sample is cut."""
        entry = part.data.entry(index)
        rng = generator(CROP, variant, number(entry.key))
        sizes = entry.size, part.buckets[index]
        return plan_crop(*sizes, rng, random=not self.centred, flip=self.flip)

    def control_name(self, digests: Digests, crop: Crop) -> str:
        """Return the name of a crop's condition and masks."""
        made = digests.condition or [digests.image, str(self.condition)]
        return digest("control 2", asdict(crop), made, digests.masks, self.invert)


@dataclass(frozen=True)
class Prepared:
    """The prepared parts of examples by what they are made from.

    autoencoder, text: names of what latents and text embeddings depend on.
    """

    store: TensorStore
    making: Making
    autoencoder: str
    text: str

    def example(self, part: Part, index: int, variant: int) -> PreparedCrop:
        """Return one crop of one sample; DatasetError if it was never built or is gone."""
        crop = self.making.crop(part, index, variant)
        entry = part.data.entry(index)
        latent = self.store.get(self.latent_name(entry.digests, crop))
        control = self.store.get(self.making.control_name(entry.digests, crop))
        if latent is None or control is None:
            raise DatasetError(
                f"The cached latent of {entry.key} is gone; start again, and it is made anew."
            )
        masks = [from_png(control[key]) for key in sorted(control) if key.startswith("mask.")]
        condition = torch.from_numpy(np.atleast_3d(from_png(control["condition"])))
        return PreparedCrop(
            latent["latent"].float(),
            condition.movedim(-1, 0).float().div(255),
            np.stack(masks).astype(np.float32) / 255 if masks else np.zeros((0, *crop.size)),
            torch.tensor([*crop.original, *crop.seen_corner, *crop.size], dtype=torch.float32),
        )

    def picture(self, part: Part, index: int, variant: int) -> Tensor:
        """Return the crop itself [3,H,W] in 0..1, read anew from its source."""
        sample = part.data[index].load()
        image = crop_sample(sample, self.making.crop(part, index, variant)).image
        return torch.from_numpy(image).movedim(-1, 0).float() / 255

    def embedding(self, caption: str) -> dict[str, Tensor]:
        """Return context [T,D], and for SDXL pooled [P]; DatasetError if it was never built."""
        found = self.store.get(self.text_name(caption))
        if found is None:
            raise DatasetError(f"The caption {shown(caption)!r} is not in the cache; start again.")
        return {key: value.float() for key, value in found.items()}

    def latent_name(self, digests: Digests, crop: Crop) -> str:
        """Return the name of a crop's latent."""
        return digest("latent 2", self.autoencoder, digests.image, asdict(crop))

    def name(self, *parts: Part) -> str:
        """Return a name for all that there is of some parts, once it is built."""
        made = [
            [part.data.catalogue.identity, digest(part.data.places.tobytes()), part.variants]
            for part in parts
        ]
        sizes = [digest(part.buckets.sizes, part.buckets.places.tobytes()) for part in parts]
        return digest("built 1", self.autoencoder, self.text, asdict(self.making), made, sizes)

    def text_name(self, caption: str) -> str:
        """Return the name of a caption's embeddings."""
        return digest("text 1", self.text, caption)
