"""What the adapter reads: image [B,3,H,W] in 0..1 -> condition [B,1 or 3,H,W] in 0..1."""

from collections.abc import Callable

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .edges import laplacian as laplacian_filter
from .edges import sobel_magnitude


def to_uint8(image: Tensor) -> np.ndarray:
    """Return an image [C,H,W] in 0..1 as 8-bit pixels [H,W,C]."""
    return (image.clamp(0, 1) * 255).round().byte().movedim(0, -1).cpu().numpy()


def grayscale(image: Tensor) -> Tensor:
    """Return the Rec. 601 luma [B,1,H,W] of RGB [B,3,H,W]; one channel passes through."""
    if image.shape[1] == 1:
        return image
    weights = image.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    return (image[:, :3] * weights).sum(1, keepdim=True)


def canny(image: Tensor, low: float = 100.0, high: float = 200.0, blur: float = 0.0) -> Tensor:
    """Return OpenCV's Canny edges of RGB, 0 or 1 [B,1,H,W]; the thresholds are of 8-bit values.

    blur: standard deviation in px of the Gaussian before it, which OpenCV leaves out (0: none).
    """
    maps = []
    for picture in image:
        pixels = to_uint8(picture[:3])
        if blur > 0:
            pixels = cv2.GaussianBlur(pixels, (0, 0), blur)
        maps.append(cv2.Canny(pixels, low, high))
    return torch.from_numpy(np.stack(maps)).to(image.device).float().div(255).unsqueeze(1)


def sobel(image: Tensor) -> Tensor:
    """Return the luma's Sobel magnitude; 1 is the strongest step edge from black to white."""
    return (2 * sobel_magnitude(grayscale(image))).clamp(0, 1)


def laplacian(image: Tensor) -> Tensor:
    """Return the luma's absolute Laplacian; a step edge from black to white gives about 0.8."""
    return (4 * laplacian_filter(grayscale(image)).abs()).clamp(0, 1)


def colour(image: Tensor, blocks: int = 8) -> Tensor:
    """Return a grid of mean colours, `blocks` along the shorter side, at full size [B,3,H,W]."""
    height, width = image.shape[-2:]
    scale = blocks / min(height, width)
    grid = (max(1, round(height * scale)), max(1, round(width * scale)))
    small = F.interpolate(image[:, :3], grid, mode="area")
    return F.interpolate(small, (height, width), mode="nearest-exact")


CONDITIONS: dict[str, Callable[..., Tensor]] = {
    "canny": canny,
    "sobel": sobel,
    "laplacian": laplacian,
    "colour": colour,
}
