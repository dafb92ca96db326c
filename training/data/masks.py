"""Random training masks: white (1) = controlled."""

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.random import Generator

Size = tuple[int, int]


def full(size: Size, rng: Generator, objects: np.ndarray | None) -> np.ndarray:
    """The whole frame."""
    return np.ones(size, np.float32)


def empty(size: Size, rng: Generator, objects: np.ndarray | None) -> np.ndarray:
    """Nothing."""
    return np.zeros(size, np.float32)


def box(size: Size, rng: Generator, objects: np.ndarray | None) -> np.ndarray:
    """A box of 20 to 80 % of either side; the frame may cut it, so that corners are reached."""
    height, width = size
    mask = np.zeros(size, np.float32)
    h, w = rng.uniform(0.2, 0.8, 2) * size
    y, x = rng.uniform(-0.25 * h, height - 0.75 * h), rng.uniform(-0.25 * w, width - 0.75 * w)
    mask[max(0, round(y)) : round(y + h), max(0, round(x)) : round(x + w)] = 1
    return mask


def ellipse(size: Size, rng: Generator, objects: np.ndarray | None) -> np.ndarray:
    """A turned ellipse."""
    height, width = size
    centre = (rng.uniform(0, width), rng.uniform(0, height))
    axes = (rng.uniform(0.2, 0.8) * width, rng.uniform(0.2, 0.8) * height)
    mask = np.zeros(size, np.float32)
    cv2.ellipse(mask, (centre, axes, rng.uniform(0, 180)), 1.0, -1)
    return mask


def brush(size: Size, rng: Generator, objects: np.ndarray | None) -> np.ndarray:
    """A free-form stroke, as painted by hand."""
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
    """Two or three boxes, ellipses or strokes."""
    shapes = [(box, ellipse, brush)[i] for i in rng.integers(0, 3, rng.integers(2, 4))]
    return np.maximum.reduce([shape(size, rng, objects) for shape in shapes])


def object_shape(size: Size, rng: Generator, objects: np.ndarray | None) -> np.ndarray:
    """One of the data set's object masks [K,H,W], grown by a few pixels; a box if there is none."""
    shape = _one_of(objects, rng)
    if shape is None:
        return box(size, rng, objects)
    grow = 2 * int(rng.uniform(0.01, 0.06) * min(size)) + 1
    return cv2.dilate((shape > 0.5).astype(np.float32), np.ones((grow, grow), np.uint8))


def object_box(size: Size, rng: Generator, objects: np.ndarray | None) -> np.ndarray:
    """A box around one object with some room; a random box if there is none."""
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
    """One of the data set's masks as it is; a box if there is none."""
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


def mask_shares(source: str, shares: Mapping[str, float]) -> Mapping[str, float]:
    """The shares of `--mask_source`; those that the user names go before."""
    if shares:
        return shares
    match source:
        case "full":
            return {"full": 1.0}
        case "dataset":
            return {"full": 0.1, "empty": 0.05, "exact": 0.85}
        case _:
            return DEFAULT_SHARES


def own_masks(source: str, objects: np.ndarray) -> np.ndarray | None:
    """The sample's masks [K,H,W] where `--mask_source` looks at them."""
    return objects if source in ("mixed", "dataset") else None


def random_mask(
    size: Size,
    rng: Generator,
    objects: np.ndarray | None = None,
    shares: Mapping[str, float] = DEFAULT_SHARES,
) -> np.ndarray:
    """A mask float32 [H,W] in 0..1 whose kind is drawn by `shares` (any positive numbers).

    objects: the sample's own masks [K,H,W] in 0..1, for the kinds `object` and `object_box`.
    """
    total = sum(shares.values())
    kind = rng.choice(list(shares), p=[share / total for share in shares.values()])
    return SHAPES[kind](size, rng, objects)
