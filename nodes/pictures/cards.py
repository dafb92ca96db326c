"""A picture with a sentence and a legend below it, as nodes show it."""

import textwrap
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .drawing import Colour

_LEAST = 512  # pixels of the picture's width: words stay readable beside small ones
_LETTERS = 34  # of a line of that width
_WHITE = (235, 235, 235)
_GROUND = (24, 24, 24)


def draw_card(pictures: Tensor, sentence: str, legend: Sequence[tuple[str, Colour]] = ()) -> Tensor:
    """Return pictures [B,3,H,W] in 0..1, each over the sentence and the words of a legend."""
    scale = -(-_LEAST // pictures.shape[-1])
    large = F.interpolate(pictures, scale_factor=scale, mode="nearest")
    words = _draw_words(large.shape[-1], sentence, legend)
    return torch.cat([large, words.expand(len(large), -1, -1, -1)], -2)


def _draw_words(width: int, sentence: str, legend: Sequence[tuple[str, Colour]]) -> Tensor:
    """Return the words as a picture [1,3,h,width] in 0..1."""
    size = width / _LETTERS * 1.8
    font = ImageFont.load_default(size)
    lines = textwrap.wrap(sentence, _LETTERS)
    height = round(1.4 * size)
    canvas = Image.new("RGB", (width, height * (len(lines) + bool(legend)) + height // 2), _GROUND)
    draw = ImageDraw.Draw(canvas)
    left = round(size / 2)
    for i, line in enumerate(lines):
        draw.text((left, height * i + height // 4), line, _WHITE, font)
    x = left
    for word, colour in legend:
        draw.text((x, height * len(lines) + height // 4), word, colour, font)
        x += round(draw.textlength(word + "  ", font))
    return torch.from_numpy(np.array(canvas)).movedim(-1, 0).float().div(255)[None]
