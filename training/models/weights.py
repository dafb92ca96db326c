"""Names for the weights of a module."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn


def weights_digest(module: nn.Module) -> str:
    """Return a name for a module's weights: of every tensor its name, shape and bytes."""
    return tensors_digest(module.state_dict())


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """Return a name for tensors by their names, as `weights_digest` does."""
    hasher = hashlib.sha256()
    for key, value in sorted(tensors.items()):
        flat = value.detach().cpu().contiguous().flatten()
        hasher.update(f"{key} {tuple(value.shape)} {value.dtype}".encode())
        hasher.update(flat.view(torch.uint8).numpy().tobytes())
    return hasher.hexdigest()[:32]
