"""Names for the weights of a module."""

import hashlib

import torch
from torch import nn


def weights_digest(module: nn.Module) -> str:
    """Return a name for a module's weights: of every tensor its name, shape and bytes."""
    hasher = hashlib.sha256()
    for key, value in sorted(module.state_dict().items()):
        flat = value.detach().cpu().contiguous().flatten()
        hasher.update(f"{key} {tuple(value.shape)} {value.dtype}".encode())
        hasher.update(flat.view(torch.uint8).numpy().tobytes())
    return hasher.hexdigest()[:32]
