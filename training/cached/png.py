"""Pictures as the bytes of PNG files, as which edges take a few KB."""

import cv2
import numpy as np
import torch
from torch import Tensor


def to_png(array: np.ndarray) -> Tensor:
    """Return [H,W] or [H,W,C] in 0..255 as the bytes of a PNG file, uint8 [N]."""
    _, data = cv2.imencode(".png", np.round(array).astype(np.uint8))
    return torch.from_numpy(data.reshape(-1))


def from_png(data: Tensor) -> np.ndarray:
    """Return the bytes of a PNG file as uint8 [H,W] or [H,W,C]."""
    image = cv2.imdecode(data.numpy(), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image
