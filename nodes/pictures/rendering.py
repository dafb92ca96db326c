"""z0' as one picture: a grid of the batch, regions and errors drawn into it."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch import Tensor

from ...local_control.region_mask import RegionMask
from ...local_control.steering import EdgeCurve
from ..sampler.control.view import check_pictures
from ..sampler.z0.overlay import place_first
from .charts import GREEN, RED
from .decoding import Decoder
from .drawing import draw_outline, draw_words

_WHITE = (255, 255, 255)
# What is drawn, and an "L" image of where.
Outline = tuple[Image.Image, Image.Image]


class Renderer:
    """z0' [B,C,(T),h,w] -> its pictures in a grid, each with the regions' outlines in it.

    most: the longer side of all in pixels. One serves one sampling; outlines are drawn anew only
    where its latents change their size.
    """

    def __init__(self, decode: Decoder, masks: Sequence[RegionMask], most: int) -> None:
        self._decode = decode
        self._masks = masks
        self._most = most
        self._outlines: list[Outline] = []

    def __call__(self, latent: Tensor) -> Image.Image:
        """Return the picture of one step."""
        check_pictures(latent.shape, "Preview z0'")
        views = fit_grid(self._decode(latent), self._most)
        if not self._outlines or self._outlines[0][0].size != views[0].size:
            self._outlines = self._outline(latent, len(views), views[0].size)
        for view, (drawn, where) in zip(views, self._outlines, strict=True):
            view.paste(drawn, (0, 0), where)
        return in_grid(views)

    def _outline(self, latent: Tensor, count: int, size: tuple[int, int]) -> list[Outline]:
        width, height = size
        masks = [place_first(mask, latent, (height, width)) for mask in self._masks]
        return [_outline(masks, i, (height, width)) for i in range(count)]


def _outline(masks: Sequence[Tensor], index: int, size: tuple[int, int]) -> Outline:
    """Return the borders of all masks of one picture, and where they are."""
    canvas = np.zeros((*size, 3), np.uint8)
    for number, mask in enumerate(masks):
        draw_outline(canvas, mask[min(index, len(mask) - 1), 0].numpy(), number, 1)
    drawn = canvas.any(-1).astype(np.uint8) * 255
    return Image.fromarray(canvas), Image.fromarray(drawn)


def grid_of(count: int, size: tuple[int, int]) -> tuple[int, int]:
    """Return the columns and rows in which `count` pictures come nearest to a square."""
    width, height = size

    def longer_side(columns: int) -> int:
        return max(columns * width, -(-count // columns) * height)

    columns = min(range(count, 0, -1), key=longer_side)
    return columns, -(-count // columns)


def fit_grid(views: Sequence[Image.Image], most: int) -> list[Image.Image]:
    """Return the pictures, smaller if their grid is longer than `most` pixels along a side."""
    width, height = views[0].size
    columns, rows = grid_of(len(views), (width, height))
    share = min(1.0, most / max(columns * width, rows * height))
    if share == 1:
        return list(views)
    size = (max(1, math.floor(share * width)), max(1, math.floor(share * height)))
    return [view.resize(size, Image.Resampling.BOX) for view in views]


def in_grid(views: Sequence[Image.Image]) -> Image.Image:
    """Return one picture of several of the same size, row by row."""
    width, height = views[0].size
    columns, rows = grid_of(len(views), (width, height))
    whole = Image.new("RGB", (columns * width, rows * height))
    for i, view in enumerate(views):
        whole.paste(view, (i % columns * width, i // columns * height))
    return whole


def write_step(
    picture: Image.Image, step: int, steps: int, curve: EdgeCurve | None = None
) -> Image.Image:
    """Return the picture with the number of its step, and its edge errors if a curve tells them."""
    canvas = np.asarray(picture).copy()
    lines = [(f"{step}/{steps}", _WHITE)]
    if curve is not None:
        sides = (("in", curve.inside[-1], GREEN), ("out", curve.outside[-1], RED))
        lines += [(f"{name} {v:.3g}", colour) for name, v, colour in sides if v == v]
    draw_words(canvas, lines)
    return Image.fromarray(canvas)
