"""Random training masks: white (1) = controlled."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Self

import cv2
import numpy as np
from numpy.random import Generator

from .pictures import Size


def full(size: Size, rng: Generator, objects: np.ndarray | None) -> np.ndarray:
    """Return a mask of the whole frame."""
    return np.ones(size, np.float32)


def empty(size: Size, rng: Generator, objects: np.ndarray | None) -> np.ndarray:
    """Return a mask of nothing."""
    return np.zeros(size, np.float32)


def box(size: Size, rng: Generator, objects: np.ndarray | None) -> np.ndarray:
    """Return a box of 20 to 80 % of either side, cut by the frame, so that corners are reached."""
    height, width = size
    mask = np.zeros(size, np.float32)
    h, w = rng.uniform(0.2, 0.8, 2) * size
    y, x = rng.uniform(-0.25 * h, height - 0.75 * h), rng.uniform(-0.25 * w, width - 0.75 * w)
    mask[max(0, round(y)) : round(y + h), max(0, round(x)) : round(x + w)] = 1
    return mask


def ellipse(size: Size, rng: Generator, objects: np.ndarray | None) -> np.ndarray:
    """Return a turned ellipse."""
    height, width = size
    centre = (rng.uniform(0, width), rng.uniform(0, height))
    axes = (rng.uniform(0.2, 0.8) * width, rng.uniform(0.2, 0.8) * height)
    mask = np.zeros(size, np.float32)
    cv2.ellipse(mask, (centre, axes, rng.uniform(0, 180)), 1.0, -1)
    return mask


def brush(size: Size, rng: Generator, objects: np.ndarray | None) -> np.ndarray:
    """Return a free-form stroke, as painted by hand."""
    height, width = size
    mask = np.zeros(size, np.float32)
    point = rng.uniform((0, 0), (width, height))
    direction = rng.uniform(0, 2 * np.pi)
    thickness = max(1, round(rng.uniform(0.08, 0.25) * min(size)))
    for _ in range(rng.integers(3, 9)):
        direction += rng.normal(0, 0.9)
        length = rng.uniform(0.1, 0.35) * min(size)
        step = length * np.array([np.cos(direction), np.sin(direction)])
        target = np.clip(point + step, 0, (width, height))
        start, end = (tuple(int(v) for v in p) for p in (point, target))
        cv2.line(mask, start, end, 1.0, thickness, cv2.LINE_AA)
        point = target
    return mask


def several(size: Size, rng: Generator, objects: np.ndarray | None) -> np.ndarray:
    """Return two or three boxes, ellipses or strokes."""
    shapes = [(box, ellipse, brush)[i] for i in rng.integers(0, 3, rng.integers(2, 4))]
    return np.maximum.reduce([shape(size, rng, objects) for shape in shapes])


def object_shape(size: Size, rng: Generator, objects: np.ndarray | None) -> np.ndarray:
    """Return one of the data set's own masks, grown by a few pixels; a box if there is none."""
    shape = _one_of(objects, rng)
    if shape is None:
        return box(size, rng, objects)
    grow = 2 * int(rng.uniform(0.01, 0.06) * min(size)) + 1
    return cv2.dilate((shape > 0.5).astype(np.float32), np.ones((grow, grow), np.uint8))


def object_box(size: Size, rng: Generator, objects: np.ndarray | None) -> np.ndarray:
    """Return a box around one object with some room; a random box if there is none."""
    shape = _one_of(objects, rng)
    if shape is None:
        return box(size, rng, objects)
    rows, columns = np.nonzero(shape > 0.5)
    room = rng.uniform(0.0, 0.12, 4) * min(size)
    mask = np.zeros(size, np.float32)
    top, bottom = max(0, round(rows.min() - room[0])), round(rows.max() + 1 + room[1])
    left, right = max(0, round(columns.min() - room[2])), round(columns.max() + 1 + room[3])
    mask[top:bottom, left:right] = 1
    return mask


def exact(size: Size, rng: Generator, objects: np.ndarray | None) -> np.ndarray:
    """Return one of the data set's masks as it is; a box if there is none."""
    shape = _one_of(objects, rng)
    return box(size, rng, objects) if shape is None else shape.astype(np.float32)


def _one_of(objects: np.ndarray | None, rng: Generator) -> np.ndarray | None:
    """One of the masks [K,H,W] that has something in this crop, or None."""
    seen = [] if objects is None else [shape for shape in objects if (shape > 0.5).any()]
    return seen[rng.integers(len(seen))] if seen else None


SHAPES: dict[str, Callable[[Size, Generator, np.ndarray | None], np.ndarray]] = {
    "full": full,
    "empty": empty,
    "box": box,
    "ellipse": ellipse,
    "brush": brush,
    "several": several,
    "object": object_shape,
    "object_box": object_box,
    "exact": exact,
}

# Those that look at the data set's masks.
OWN_SHAPES = frozenset({"object", "object_box", "exact"})

# Random boxes never cover the whole frame and seldom its corners: full masks get a share.
DEFAULT_SHARES: dict[str, float] = {
    "full": 0.1,
    "empty": 0.05,
    "box": 0.2,
    "ellipse": 0.15,
    "brush": 0.1,
    "several": 0.1,
    "object": 0.1,
    "object_box": 0.2,
}

# What validation shows in place of the default mixture; empty masks say nothing about control.
_SHOWN_SHARES = {"box": 0.25, "ellipse": 0.15, "brush": 0.1, "object_box": 0.4, "full": 0.1}


def mask_shares(source: str, shares: Mapping[str, float]) -> Mapping[str, float]:
    """Return the shares of `--mask_source`; those that the user names go before."""
    if shares:
        return shares
    match source:
        case "full":
            return {"full": 1.0}
        case "dataset":
            return {"full": 0.1, "empty": 0.05, "exact": 0.85}
        case _:
            return DEFAULT_SHARES


@dataclass(frozen=True)
class RandomMasks:
    """The masks of a run: where they come from, and how often each kind is drawn.

    source: `--mask_source`. shares: weights by kind, any positive numbers; their order decides what
    is drawn.
    """

    source: str
    shares: Mapping[str, float]

    @classmethod
    def of(cls, source: str, shares: Mapping[str, float]) -> Self:
        """Return the masks of a source with the shares that the user names, if any."""
        return cls(source, mask_shares(source, shares))

    def draw(self, size: Size, rng: Generator, own: np.ndarray) -> np.ndarray:
        """Return a mask [H,W] in 0..1; own: the sample's own masks [K,H,W]."""
        objects = own if self.source in ("mixed", "dataset") else None
        return random_mask(size, rng, objects, self.shares)

    def shown(self) -> Self:
        """Return the same masks without empty ones, for validation."""
        if self.source in ("mixed", "random") and self.shares is DEFAULT_SHARES:
            return replace(self, shares=_SHOWN_SHARES)
        left = {k: share for k, share in self.shares.items() if k != "empty" and share > 0}
        return replace(self, shares=left or mask_shares("full", {}))


def random_mask(
    size: Size,
    rng: Generator,
    objects: np.ndarray | None = None,
    shares: Mapping[str, float] = DEFAULT_SHARES,
) -> np.ndarray:
    """Return a mask float32 [H,W] in 0..1 whose kind is drawn by `shares` (any positive numbers).

    objects: the sample's own masks [K,H,W] in 0..1, for the kinds that look at them.
    """
    total = sum(shares.values())
    kind = rng.choice(list(shares), p=[share / total for share in shares.values()])
    return SHAPES[kind](size, rng, objects)
