"""Names for the weights of a module."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn


def weights_digest(module: nn.Module, dtype: torch.dtype | None = None) -> str:
    """Return a name for a module's weights: of every tensor its name, shape and bytes.

    dtype: name it as it would be named in that precision.
    """
    return tensors_digest(module.state_dict(), dtype)


def tensors_digest(tensors: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> str:
    """Return a name for tensors by their names, as `weights_digest` does."""
    hasher = hashlib.sha256()
    for key, given in sorted(tensors.items()):
        value = given.to(dtype) if dtype and given.is_floating_point() else given
        flat = value.detach().cpu().contiguous().flatten()
        hasher.update(f"{key} {tuple(value.shape)} {value.dtype}".encode())
        hasher.update(flat.view(torch.uint8).numpy().tobytes())
    return hasher.hexdigest()[:32]
