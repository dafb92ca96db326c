"""How much a picture changes outside the mask, to a network that was trained on pictures."""

from pathlib import Path

import torch
from torch import Tensor
from torchvision.models import vgg16

from local_control.masks import resize_mask

from ..data.records import DatasetError
from ..models.weights import read_weights

# Of torchvision's vgg16.features: the last layer of each block, before it is pooled.
_TAPS = (3, 8, 15, 22, 29)
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PerceptualChange:
    """Distance of the features of a VGG16 trunk, over a mask.

    As LPIPS (Zhang et al., 2018) without its learnt weights: the squared difference of features of
    length 1, mean over the mask and over five blocks. weights: a .safetensors file with
    torchvision's keys of vgg16, whatever it was trained for, of which `features` alone are read.

    Raises:
        DatasetError: the file is no such file.
    """

    def __init__(self, weights: Path) -> None:
        found = {k: v for k, v in read_weights(weights).items() if k.startswith("features.")}
        network = vgg16(weights=None, init_weights=False)
        network.classifier = torch.nn.Sequential()
        try:
            network.load_state_dict(found)
        except RuntimeError:
            raise DatasetError(
                f"{weights.name} has no trunk of a VGG16 under torchvision's keys; name one that "
                f"has features.0.weight to features.28.bias."
            ) from None
        network.eval().requires_grad_(False)
        self.network = network
        self._layers = list(network.features.children())[: _TAPS[-1] + 1]

    @torch.no_grad()
    def __call__(self, a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
        """Return the distance [B] of pictures [B,3,H,W] in 0..1 where mask [B,1,H,W] is 1."""
        pairs = zip(self._blocks(a), self._blocks(b), strict=True)
        return torch.stack([_distance(x, y, mask) for x, y in pairs]).mean(0)

    def _blocks(self, images: Tensor) -> list[Tensor]:
        mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in (_MEAN, _STD))
        x, found = (images - mean) / std, []
        for index, layer in enumerate(self._layers):
            x = layer(x)
            if index in _TAPS:
                found.append(torch.nn.functional.normalize(x, dim=1))
        return found


def _distance(a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    """Of features [B,C,h,w], their squared difference over the mask on their grid."""
    squared = (a - b).square().sum(1, keepdim=True)
    where = resize_mask(mask, (a.shape[-2], a.shape[-1]))
    return (squared * where).sum((1, 2, 3)) / where.sum((1, 2, 3))
