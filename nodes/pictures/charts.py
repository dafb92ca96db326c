"""The edge curve of a sampling as a chart, and as numbers; words where there is none."""

import json
import math
import textwrap

import cv2
import numpy as np
import torch
from torch import Tensor

from ...local_control.steering import EdgeCurve
from .drawing import draw_words

_SIZE = (320, 512)
_MARGIN = 40
_LETTERS = 56  # of a line of words
_WHITE = (255, 255, 255)
GREEN, RED, _GRAY = (60, 180, 75), (225, 60, 60), (150, 150, 150)  # inside, outside, axes


def to_lists(curve: EdgeCurve) -> dict[str, list[float | None]]:
    """Return the curve as JSON has it: two lists by name, with None where there is no such side."""
    lines = {"inside": curve.inside, "outside": curve.outside}
    return {k: [v if math.isfinite(v) else None for v in line] for k, line in lines.items()}


def to_json(curve: EdgeCurve) -> str:
    """Return the curve as a JSON object of two lists; null where there is no such side."""
    return json.dumps(to_lists(curve))


def draw_curve(curve: EdgeCurve) -> Tensor:
    """Return a chart [1,3,H,W] in 0..1: green inside, red outside, from 0 to the largest value."""
    height, width = _SIZE
    chart = np.full((height, width, 3), 255, np.uint8)
    values = [v for v in (*curve.inside, *curve.outside) if math.isfinite(v)]
    top = max(values, default=1.0) or 1.0
    steps = max(1, len(curve.inside) - 1)

    def point(step: int, value: float) -> tuple[int, int]:
        x = _MARGIN + step * (width - 2 * _MARGIN) / steps
        return round(x), round(height - _MARGIN - value / top * (height - 2 * _MARGIN))

    corner, right, up = point(0, 0), point(steps, 0), point(0, top)
    cv2.line(chart, corner, right, _GRAY, 1, cv2.LINE_AA)
    cv2.line(chart, corner, up, _GRAY, 1, cv2.LINE_AA)
    for line, colour in ((curve.inside, GREEN), (curve.outside, RED)):
        points = [point(i, value) for i, value in enumerate(line) if math.isfinite(value)]
        if points:
            cv2.polylines(chart, [np.array(points)], False, colour, 2, cv2.LINE_AA)
    labels = [
        (f"{top:.3g}", (4, _MARGIN + 4), _GRAY),
        ("step 1", (_MARGIN, height - 16), _GRAY),
        (f"step {len(curve.inside)}", (width - 2 * _MARGIN - 20, height - 16), _GRAY),
        ("edge error inside", (_MARGIN + 20, 24), GREEN),
        ("outside", (_MARGIN + 200, 24), RED),
    ]
    for text, place, colour in labels:
        cv2.putText(chart, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1, cv2.LINE_AA)
    return _to_tensor(chart)


def write_words(text: str) -> Tensor:
    """Return a picture [1,3,H,W] in 0..1 of a chart's size, with words for what is missing."""
    canvas = np.zeros((*_SIZE, 3), np.uint8)
    draw_words(canvas, [(line, _WHITE) for line in textwrap.wrap(text, _LETTERS)])
    return _to_tensor(canvas)


def _to_tensor(canvas: np.ndarray) -> Tensor:
    return torch.from_numpy(canvas).movedim(-1, 0).float().div(255)[None]
