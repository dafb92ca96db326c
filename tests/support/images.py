"""Random pictures, and masks of halves and stripes of them, for latents of a size in cells."""

import torch

SIZE = (16, 16)


def picture(size=SIZE, batch=1, seed=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, 8 * size[0], 8 * size[1], 3, generator=generator)


def left_side(height, width):
    """A mask of a size in pixels [1,1,H,W] that is white on its left."""
    mask = torch.zeros(1, 1, height, width)
    mask[..., : width // 2] = 1
    return mask


def left(size=SIZE):
    return left_side(8 * size[0], 8 * size[1])[0]


def top(size=SIZE):
    mask = torch.zeros(1, 8 * size[0], 8 * size[1])
    mask[:, : 4 * size[0]] = 1
    return mask


def white(size=SIZE):
    return torch.ones(1, 8 * size[0], 8 * size[1])


def stripes(count, size=SIZE):
    """A mask for each of `count` latents, each elsewhere."""
    masks = torch.zeros(count, 8 * size[0], 8 * size[1])
    for i in range(count):
        masks[i, :, 16 * i : 16 * i + 40] = 1
    return masks
