"""Edges where people see them: the z0 loss on decoded pixels, around the mask."""

from collections.abc import Callable

import torch
from torch import Tensor

from .edges import sobel_magnitude
from .losses import Denoising, per_sample_mean
from .masks import resize_mask
from .z0 import predict_z0

Decode = Callable[[Tensor], Tensor]


class DecodedLoss:
    """alpha_bar times the squared error of decoded z0's Sobel magnitudes inside the mask.

    decode: latents [N,C,h,w] -> pictures [N,3,f*h,f*w], through which gradients flow. cells: only a
    window of so many latent cells around the middle of each mask is decoded, the same for z0' and
    z0, so that borders of the window do not count. lowest: the alpha_bar below which a z0' is too
    blurred to have the picture's edges, and costs nothing. Of a batch only the least noisy half is
    decoded, since that is what takes the time.
    """

    def __init__(self, decode: Decode, cells: int = 24, lowest: float = 0.5) -> None:
        self.decode = decode
        self.cells = cells
        self.lowest = lowest

    def __call__(self, batch: Denoising) -> Tensor:
        """Return a value a sample [B], fp32 whatever autocast is on."""
        with torch.autocast(batch.z_t.device.type, enabled=False):
            alpha_bar, chosen = batch.alpha_bar.float().topk((len(batch.z0) + 1) // 2)
            z0, mask = batch.z0[chosen].float(), batch.mask[chosen].float()
            predicted = predict_z0(batch.output[chosen], batch.z_t[chosen], alpha_bar, batch.kind)
            weight = alpha_bar * (alpha_bar >= self.lowest)
            # What costs nothing must not be infinite either, which 0 times it would keep.
            predicted = torch.where((weight > 0).view(-1, 1, 1, 1), predicted, z0)
            mask = resize_mask(mask, (z0.shape[-2], z0.shape[-1]))
            own, true, inside = windows((predicted, z0, mask), mask, self.cells)
            seen = sobel_magnitude(self.decode(own))
            with torch.no_grad():
                wanted = sobel_magnitude(self.decode(true))
            inside = resize_mask(inside, (seen.shape[-2], seen.shape[-1]))
            error = ((seen - wanted) * inside).square()
            loss = weight * per_sample_mean(error, inside, "area")
            return torch.zeros_like(batch.alpha_bar, dtype=loss.dtype).index_put((chosen,), loss)


def windows(values: tuple[Tensor, ...], mask: Tensor, cells: int) -> list[Tensor]:
    """Return the part of each of `values` [B,C,h,w] around the middle of a mask [B,1,h,w].

    -> [B,C,min(cells,h),min(cells,w)] each, wholly inside. No value of the mask leaves its device,
    so that nothing waits.
    """
    rows = _span(mask.sum((1, 3)), cells)[:, :, None]
    columns = _span(mask.sum((1, 2)), cells)[:, None, :]
    samples = torch.arange(len(mask), device=mask.device)[:, None, None]
    return [value.movedim(1, -1)[samples, rows, columns].movedim(-1, 1) for value in values]


def _span(weights: Tensor, cells: int) -> Tensor:
    """Return `cells` places in a row [B,k] around the middle of weights [B,n]."""
    total = weights.shape[1]
    cells = min(cells, total)
    places = torch.arange(total, device=weights.device, dtype=weights.dtype)
    middle = (weights * places).sum(1) / weights.sum(1).clamp(min=1e-6)
    first = (middle - (cells - 1) / 2).round().clamp(0, total - cells).long()
    return first[:, None] + torch.arange(cells, device=weights.device)
