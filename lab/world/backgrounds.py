"""Procedural and textured backgrounds with the words that caption them."""

import colorsys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator

# Hue, saturation and value ranges; hue in degrees.
COLOURS: dict[str, tuple[tuple[int, int], tuple[float, float], tuple[float, float]]] = {
    "red": ((350, 364), (0.65, 0.9), (0.7, 0.95)),
    "orange": ((22, 34), (0.7, 0.95), (0.85, 1.0)),
    "yellow": ((46, 56), (0.55, 0.85), (0.9, 1.0)),
    "green": ((95, 140), (0.4, 0.8), (0.45, 0.85)),
    "teal": ((170, 184), (0.45, 0.8), (0.5, 0.85)),
    "blue": ((205, 228), (0.45, 0.85), (0.6, 0.98)),
    "purple": ((264, 282), (0.4, 0.75), (0.5, 0.9)),
    "pink": ((322, 342), (0.25, 0.55), (0.92, 1.0)),
    "brown": ((18, 30), (0.45, 0.65), (0.35, 0.55)),
    "white": ((0, 360), (0.0, 0.03), (0.94, 1.0)),
    "gray": ((0, 360), (0.0, 0.05), (0.45, 0.7)),
    "black": ((0, 360), (0.0, 0.15), (0.04, 0.15)),
}
_NAMES = tuple(COLOURS)
_PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png")
_TEXTURES = {"grass": "grass.png", "gravel": "gravel.png", "bricks": "brick.png"}


def _colour(rng: Generator) -> tuple[str, np.ndarray]:
    name = _NAMES[rng.integers(len(_NAMES))]
    hue, saturation, value = (rng.uniform(*span) for span in COLOURS[name])
    return name, np.array(colorsys.hsv_to_rgb(hue / 360 % 1, saturation, value), np.float32)


def _mix(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Blend two RGB colours by a weight map [H,W] in 0..1 -> [H,W,3]."""
    return a + (b - a) * weight[..., None].astype(np.float32)


def _shade(colour: np.ndarray, rng: Generator) -> np.ndarray:
    """A near neighbour of a colour, for patterns of low contrast."""
    towards = 1.0 if colour.mean() < 0.5 else 0.0
    return colour + (towards - colour) * rng.uniform(0.15, 0.35)


def _ramp(size: int, rng: Generator) -> np.ndarray:
    """A linear ramp 0..1 in a random direction, [size,size]."""
    y, x = np.mgrid[0:size, 0:size] / (size - 1) - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    ramp = np.cos(angle) * x + np.sin(angle) * y
    return (ramp - ramp.min()) / np.ptp(ramp)


@cache
def _picture(name: str) -> np.ndarray:
    import skimage.data

    image = cv2.imread(str(Path(skimage.data.__file__).parent / name), cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(f"scikit-image does not bring the picture {name}")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.float32) / 255


def _crop(image: np.ndarray, size: int, rng: Generator) -> np.ndarray:
    """A random square crop, at a random scale, [size,size,3]."""
    side = int(rng.uniform(0.4, 0.9) * min(image.shape[:2]))
    top = rng.integers(image.shape[0] - side + 1)
    left = rng.integers(image.shape[1] - side + 1)
    crop = image[top : top + side, left : left + side]
    return cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)


def _plain(size: int, rng: Generator) -> tuple[np.ndarray, str]:
    name, colour = _colour(rng)
    return np.broadcast_to(colour, (size, size, 3)).copy(), f"on a {name} background"


def _gradient(size: int, rng: Generator) -> tuple[np.ndarray, str]:
    (name, a), (other, b) = _colour(rng), _colour(rng)
    return _mix(a, b, _ramp(size, rng)), f"on a {name} and {other} gradient"


def _horizon(size: int, rng: Generator) -> tuple[np.ndarray, str]:
    (name, ground), (other, sky) = _colour(rng), _colour(rng)
    y = np.linspace(0, 1, size)[:, None].repeat(size, 1)
    line = rng.uniform(0.45, 0.75)
    above = _mix(sky, _shade(sky, rng), np.clip(y / line, 0, 1))
    below = _mix(_shade(ground, rng), ground, np.clip((y - line) / (1 - line), 0, 1))
    inside = np.clip((y - line) * size / 2 + 0.5, 0, 1)[..., None].astype(np.float32)
    return above + (below - above) * inside, f"on {name} ground under a {other} sky"


def _stripes(size: int, rng: Generator) -> tuple[np.ndarray, str]:
    name, colour = _colour(rng)
    wave = np.sin(_ramp(size, rng) * 2 * np.pi * rng.integers(3, 8))
    return _mix(colour, _shade(colour, rng), np.clip(wave * 4 + 0.5, 0, 1)), f"on {name} stripes"


def _checks(size: int, rng: Generator) -> tuple[np.ndarray, str]:
    name, colour = _colour(rng)
    cell = size // int(rng.integers(4, 9))
    y, x = np.mgrid[0:size, 0:size] // cell
    return _mix(colour, _shade(colour, rng), (x + y) % 2), f"on {name} checks"


def _dots(size: int, rng: Generator) -> tuple[np.ndarray, str]:
    name, colour = _colour(rng)
    cell = size // int(rng.integers(4, 9))
    y, x = (np.mgrid[0:size, 0:size] % cell) / cell - 0.5
    radius = np.hypot(x, y)
    dots = np.clip((0.3 - radius) * cell + 0.5, 0, 1)
    return _mix(colour, _shade(colour, rng), dots), f"on {name} dots"


def _clouds(size: int, rng: Generator) -> tuple[np.ndarray, str]:
    (name, a), (other, b) = _colour(rng), _colour(rng)
    noise = sum(
        cv2.resize(rng.random((n, n)), (size, size), interpolation=cv2.INTER_CUBIC) / n
        for n in (3, 5, 9)
    )
    noise = (noise - noise.min()) / np.ptp(noise)
    return _mix(a, b, noise), f"on {name} and {other} clouds"


def _texture(size: int, rng: Generator) -> tuple[np.ndarray, str]:
    name, colour = _colour(rng)
    kind = tuple(_TEXTURES)[rng.integers(len(_TEXTURES))]
    light = _crop(_picture(_TEXTURES[kind]), size, rng).mean(-1)
    return np.clip(colour + (light - light.mean())[..., None] * 0.5, 0, 1), f"on {name} {kind}"


def _photo(size: int, rng: Generator) -> tuple[np.ndarray, str]:
    return _crop(_picture(_PHOTOS[rng.integers(len(_PHOTOS))]), size, rng), "on a photo"


_KINDS: tuple[tuple[float, Callable[[int, Generator], tuple[np.ndarray, str]]], ...] = (
    (0.28, _plain),
    (0.16, _gradient),
    (0.18, _horizon),
    (0.06, _stripes),
    (0.06, _checks),
    (0.05, _dots),
    (0.08, _clouds),
    (0.07, _texture),
    (0.06, _photo),
)


def background(size: int, rng: Generator) -> tuple[np.ndarray, str]:
    """Return a random background, RGB float32 [size,size,3] in 0..1, and its words."""
    index = rng.choice(len(_KINDS), p=[share for share, _ in _KINDS])
    return _KINDS[index][1](size, rng)
