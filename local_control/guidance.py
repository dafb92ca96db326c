"""Moving a predicted clean latent down the gradient of the masked edge loss."""

import torch
from torch import Tensor

from .losses import masked_error
from .masks import resize_mask


def edge_loss(z0: Tensor, reference: Tensor, mask: Tensor, edge: str) -> Tensor:
    """Mean squared difference of edges over the mask's area, as the z0 loss trains it -> [B].

    z0 and reference [B,C,h,w], mask [1 or B,1,H,W] in 0..1 at any size.
    """
    size = (z0.shape[-2], z0.shape[-1])
    inside = resize_mask(mask, size).expand(len(z0), -1, -1, -1)
    return masked_error(z0, reference, inside, edge)


def step_towards_edges(
    z0: Tensor, reference: Tensor, mask: Tensor, edge: str = "sobel", scale: float = 1.0
) -> Tensor:
    """z0 [B,C,h,w] moved by `scale` Polyak steps -> the same shape, fp32.

    A Polyak step is loss / |gradient|^2 along the gradient: the length that would reach zero if the
    loss fell on as steeply. It depends neither on the size of the latent nor on its scale, so one
    `scale` serves all resolutions and families. Only the latent is differentiated, never a model.
    """
    # Tensors of inference mode cannot be differentiated; their copies can.
    with torch.inference_mode(False), torch.enable_grad():
        moved = z0.detach().float().clone().requires_grad_(True)
        fixed, inside = reference.detach().float().clone(), mask.detach().float().clone()
        loss = edge_loss(moved, fixed, inside, edge)
        (gradient,) = torch.autograd.grad(loss.sum(), moved)
    norm = gradient.square().sum((1, 2, 3))
    length = torch.where(norm > 0, loss.detach() / norm.clamp(min=1e-20), 0)
    return z0.float() - scale * length.view(-1, 1, 1, 1) * gradient
