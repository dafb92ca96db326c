"""Drawing into pictures: borders of regions and words."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from ...local_control.masks import WHITE

Colour = tuple[int, int, int]
COLOURS: tuple[Colour, ...] = (
    (230, 60, 60),
    (60, 160, 250),
    (250, 190, 40),
    (90, 200, 90),
    (190, 100, 230),
)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_BLACK = (0, 0, 0)
_SMALLEST, _READABLE = 0.32, 0.45  # scales of the font


def colour_of(index: int) -> Tensor:
    """Return a region's colour, [3] in 0..1."""
    return torch.tensor(COLOURS[index % len(COLOURS)]) / 255


def draw_outline(canvas: np.ndarray, mask: np.ndarray, index: int, thick: int) -> None:
    """Draw the border of one mask and its number into a picture uint8 [H,W,3]."""
    inside = (mask >= WHITE).astype(np.uint8)
    borders, _ = cv2.findContours(inside, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    colour = COLOURS[index % len(COLOURS)]
    cv2.drawContours(canvas, borders, -1, colour, thick)
    rows, columns = np.nonzero(inside)
    if len(rows):
        scale = min(canvas.shape[:2]) / 500
        place = (int(columns.min()) + 3 * thick, int(rows.min()) + 4 * thick + round(22 * scale))
        cv2.putText(canvas, str(index + 1), place, _FONT, scale, colour, thick)


def draw_words(canvas: np.ndarray, lines: Sequence[tuple[str, Colour]]) -> None:
    """Write lines, each in its colour, into the lower left corner of a picture uint8 [H,W,3].

    As large as fits the width, up to a readable size, smaller in small pictures, which nodes
    enlarge; on black, so that any ground will do.
    """
    bottom = canvas.shape[0]
    largest = min(_READABLE, max(_SMALLEST, bottom / 400))
    for words, colour in reversed(lines):
        (width, height), rest = cv2.getTextSize(words, _FONT, 1.0, 1)
        scale = min(largest, 0.96 * canvas.shape[1] / width)
        top = bottom - round((height + rest) * scale) - 3
        cv2.rectangle(canvas, (0, top), (round(width * scale) + 4, bottom), _BLACK, cv2.FILLED)
        place = (2, bottom - round(rest * scale) - 1)
        cv2.putText(canvas, words, place, _FONT, scale, colour, 1, cv2.LINE_AA)
        bottom = top
