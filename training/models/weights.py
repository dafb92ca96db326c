"""Weights of a module: read from a file, and given names."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..data.records import DatasetError


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors file; DatasetError if it cannot be read."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise DatasetError(
            f"The weights {path} cannot be read ({error}); name a whole .safetensors file."
        ) from error


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
