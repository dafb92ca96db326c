"""Edges of latents and images, through kornia."""

from collections.abc import Callable

from kornia.filters import laplacian as kornia_laplacian
from kornia.filters import sobel as kornia_sobel
from kornia.filters import spatial_gradient
from torch import Tensor

EdgeFilter = Callable[[Tensor], Tensor]


def sobel_magnitude(x: Tensor) -> Tensor:
    """Return the length of the Sobel gradient, blind to polarity: [B,C,H,W] -> [B,C,H,W].

    Normalised by 8; a flat area gives 1e-3, since 1e-6 stands inside the root to keep the
    derivative finite.
    """
    return kornia_sobel(x)


def sobel_gradients(x: Tensor) -> Tensor:
    """Return horizontal and vertical Sobel gradients with their sign: [B,C,H,W] -> [B,2C,H,W]."""
    return spatial_gradient(x).flatten(1, 2)


def laplacian(x: Tensor) -> Tensor:
    """Return the Laplacian by a 5x5 kernel, as in the original work: [B,C,H,W] -> [B,C,H,W]."""
    return kornia_laplacian(x, kernel_size=5)


EDGE_FILTERS: dict[str, EdgeFilter] = {
    "sobel": sobel_magnitude,
    "sobel_gradients": sobel_gradients,
    "laplacian": laplacian,
}
