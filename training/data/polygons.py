"""COCO's polygons and run lengths, drawn only if they are sound: its library trusts them."""

import math
from typing import Any

import numpy as np

from .pictures import Size, check_area

# How far outside of a frame a corner may be, in frames, and how long all edges together, in pixels.
_OUTSIDE = 1
_MOST_EDGE = 10**6


def draw(segmentation: Any, frame: Size) -> np.ndarray:
    """Return the mask uint8 [H,W] of 0 and 1 that COCO's polygons or run lengths stand for.

    frame: (height, width) in px.

    Raises:
        ValueError: they are neither, or do not fit the frame.
    """
    check_area(frame)
    if isinstance(segmentation, list):
        return _polygons(segmentation, frame)
    if not isinstance(segmentation, dict):
        raise ValueError(f"its annotation is a {type(segmentation).__name__}")
    if segmentation.get("size") != list(frame):
        raise ValueError(f"its run lengths are not of {frame[1]} x {frame[0]}")
    counts = segmentation.get("counts")
    return _runs(_decoded(counts) if isinstance(counts, str) else counts, frame)


def _polygons(found: list[Any], frame: Size) -> np.ndarray:
    from pycocotools import mask as coco

    height, width = frame
    polygons = [polygon for polygon in found if isinstance(polygon, list) and len(polygon) >= 6]
    if not polygons:
        raise ValueError("a polygon in its annotation has less than three corners")
    edges = 0.0
    for polygon in polygons:
        if len(polygon) % 2 or not all(_is_number(value) for value in polygon):
            raise ValueError("a polygon in its annotation is no list of pairs of numbers")
        corners = np.array(polygon, np.float64).reshape(-1, 2)
        size = np.array([width, height])
        if (corners < -_OUTSIDE * size).any() or (corners > (1 + _OUTSIDE) * size).any():
            raise ValueError("a polygon in its annotation leads far out of the picture")
        edges += np.abs(corners - np.roll(corners, 1, 0)).max(1).sum()
    if edges > _MOST_EDGE:
        raise ValueError("the polygons in its annotation have too many edges")
    return coco.decode(coco.merge(coco.frPyObjects(polygons, height, width)))


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) < 1e9 and math.isfinite(value)


def _decoded(text: str) -> list[int]:
    """The run lengths that COCO's compressed text stands for: 5 bits a character, signed, from the
    third on as differences to the one two before.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError("its run lengths are damaged")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("its run lengths are cut short")
    return counts


def _runs(counts: Any, frame: Size) -> np.ndarray:
    """Run lengths down the columns, of 0 first and 1 next, as a mask."""
    height, width = frame
    if not isinstance(counts, list) or not all(
        isinstance(count, int) and 0 <= count <= height * width for count in counts
    ):
        raise ValueError("its run lengths are no list of counts")
    if sum(counts) != height * width:
        raise ValueError(f"its run lengths make {sum(counts)} pixels, not {height * width}")
    values = (np.arange(len(counts)) % 2).astype(np.uint8)
    return np.repeat(values, counts).reshape(width, height).T
