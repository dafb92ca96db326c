"""How well sampled pictures follow their condition inside the mask, and how free the rest is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from local_control.conditions import colour
from local_control.metrics import diffcc, divergence, edge_match, leak, lfmse, masked_ssim

from ..data.condition import Condition
from ..data.records import DatasetError
from ..data.words import shown
from ..models.weights import read_weights
from .cases import Case

# Name -> whether more is better.
SCORES: dict[str, bool] = {
    "edge F1 inside": True,
    "LFMSE inside": False,
    "DiffCC coincidence": True,
    "SSIM inside": True,
    "colour error inside": False,
    "leak": False,
    "change outside": False,
    "hallucination inside": False,
    "hallucination outside": False,
}
# True pictures that distances of whole sets need at least; fewer say nothing of a distribution.
FEWEST = 20
_ROWS = 4096  # of a matrix of all pairs that are in memory at once
PERCEPTUAL = "perceptual change outside"
# Of predictions on the same latent; the rest of the leak is the outside's answer to the inside.
DIRECT = "direct leak of a step"
# Those that compare with the picture without control.
OF_CHANGE = frozenset({"leak", "change outside"})


def score(
    images: Tensor,
    free: Tensor,
    sources: Tensor,
    masks: Tensor,
    canny: Condition,
    reference: bool = False,
) -> dict[str, Tensor]:
    """Return scores [B] by name of sampled `images`; `free` are of the same seeds, uncontrolled.

    All pictures [B,3,H,W] in 0..1, masks [B,1,H,W]. `canny` finds the edges, whatever the
    adapter reads; F1 has a tolerance of 2 px. Leak is NaN where a picture equals the free one.
    reference: LFMSE and DiffCC as the original work measures them.
    """
    edges, wanted = canny(images), canny(sources)
    cells = diffcc(edges, wanted, masks, reference)
    changed = divergence(images, free, masks) > 0
    return {
        "edge F1 inside": edge_match(edges, wanted, masks).f1,
        "LFMSE inside": lfmse(edges, wanted, masks, reference)["inside"],
        "DiffCC coincidence": cells["coincidence"],
        "SSIM inside": masked_ssim(images, sources, masks),
        "colour error inside": divergence(colour(images), colour(sources), masks),
        "leak": torch.where(changed, leak(images, free, masks), torch.nan),
        "change outside": divergence(images, free, 1 - masks),
        "hallucination inside": cells["hallucination_inside"],
        "hallucination outside": cells["hallucination_outside"],
    }


def blank_lfmse(
    sources: Tensor, masks: Tensor, canny: Condition, reference: bool = False
) -> Tensor:
    """Return the LFMSE inside [B] of pictures without any edge: what a score must be below."""
    wanted = canny(sources)
    return lfmse(torch.zeros_like(wanted), wanted, masks, reference)["inside"]


def latent_features(latents: Tensor) -> Tensor:
    """Return latents [B,C,h,w] averaged to 4 x 4 cells, [B,16C]: features of a distance."""
    return torch.nn.functional.adaptive_avg_pool2d(latents, 4).flatten(1)


def kernel_distance(a: Tensor, b: Tensor, made_for: Tensor | None = None) -> float:
    """Return the squared maximum mean discrepancy of features [N,D] and [M,D], unbiased.

    The cubic kernel of the Kernel Inception Distance (Binkowski et al., 2018), on standardised
    features of any kind; 0 for equal distributions, and below 0 by chance. NaN for fewer than
    `FEWEST` true pictures, whose spread in each feature is a matter of chance.
    made_for [N]: the row of b that each of a was made for. Such two are alike for that reason, as
    are two of a that were made for the same, so these pairs are left out.
    """
    if len(a) < 2 or len(b) < FEWEST:
        return float("nan")
    mean, std = b.mean(0), b.std(0).clamp(min=1e-6)
    a, b = (a - mean) / std, (b - mean) / std
    rows_a, rows_b = torch.arange(len(a)), torch.arange(len(b))
    if made_for is None:
        made_for, rows_b = rows_a, rows_b + len(a)  # nothing has to do with anything

    def mean_kernel(x: Tensor, y: Tensor, of_x: Tensor, of_y: Tensor) -> Tensor:
        total, count = x.new_zeros((), dtype=torch.float64), 0
        for rows, of_rows in zip(x.split(_ROWS), of_x.split(_ROWS), strict=True):
            apart = of_rows[:, None] != of_y[None, :]
            total += ((rows @ y.T / x.shape[1] + 1) ** 3)[apart].sum(dtype=torch.float64)
            count += int(apart.sum())
        return total / count

    within = mean_kernel(a, a, made_for, made_for) + mean_kernel(b, b, rows_b, rows_b)
    return (within - 2 * mean_kernel(a, b, made_for, rows_b)).item()


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Return the Frechet distance of Gaussians fitted to features [N,D] and [M,D].

    Squared, as by Heusel et al., 2017. NaN for fewer than `FEWEST` of either.
    """
    from scipy.linalg import sqrtm

    if min(len(a), len(b)) < FEWEST:
        return float("nan")
    a, b = a.double(), b.double()
    first, second = torch.cov(a.T), torch.cov(b.T)
    root = torch.from_numpy(np.real(sqrtm((first @ second).numpy())))
    return ((a.mean(0) - b.mean(0)).square().sum() + (first + second - 2 * root).trace()).item()


class InceptionFeatures:
    """Pooled features [B,2048] of torchvision's Inception v3, its weights in a .safetensors file.

    Not the TensorFlow port that published FIDs use: compare with distances from here alone.

    Raises:
        DatasetError: the file is no such file.
    """

    def __init__(self, weights: Path) -> None:
        from torchvision.models import inception_v3

        self.network: Any = inception_v3(weights=None, transform_input=False, init_weights=False)
        try:
            self.network.load_state_dict(read_weights(weights))
        except RuntimeError:
            raise DatasetError(
                f"{weights.name} has no Inception v3 under torchvision's keys; name one that has "
                f"those of its inception_v3, AuxLogits among them."
            ) from None
        self.network.fc = torch.nn.Identity()
        self.network.eval()

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """images [B,3,H,W] in 0..1."""
        large = torch.nn.functional.interpolate(images, (299, 299), mode="bilinear", antialias=True)
        return self.network(2 * large - 1)


class ClipScore:
    """100 x the cosine of picture and prompt in CLIP (Hessel et al., 2021), at least 0.

    Raises:
        DatasetError: there is no such model, or it cannot be read.
    """

    def __init__(self, name: str) -> None:
        from transformers import CLIPModel, CLIPProcessor

        try:
            self.network = CLIPModel.from_pretrained(name, use_safetensors=True).eval()
            self._processor: Any = CLIPProcessor.from_pretrained(name)
        except Exception as error:  # transformers lets through whatever a damaged file raises
            reason = shown(str(error).partition("\n")[0], 300)
            raise DatasetError(
                f"The CLIP model {name} cannot be loaded ({reason}); name a folder or a hub model "
                f"that holds safetensors."
            ) from error

    @torch.no_grad()
    def __call__(self, images: Tensor, cases: Sequence[Case]) -> Tensor:
        """images [B,3,H,W] in 0..1 -> [B]."""
        inputs = self._processor(
            text=[case.prompt for case in cases],
            images=list(images),
            return_tensors="pt",
            padding=True,
            truncation=True,
            do_rescale=False,
        )
        found = self.network(**inputs)
        cosine = (found.image_embeds * found.text_embeds).sum(-1)
        return (100 * cosine).clamp(min=0)
