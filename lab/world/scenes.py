"""Composites of captioned objects on varied backgrounds, with exact masks.

Every scene is a pure function of (split, seed, index), so nothing needs to be stored and any
worker can draw any sample.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator

from .backgrounds import background
from .vocabulary import Item, Split, load_items, with_article

SIZE = 128
_SPLIT_KEYS: dict[Split, int] = {"train": 0, "validation": 1, "test": 2}
# Object size as a share of the frame, by how many objects there are.
_EXTENT = {1: (0.55, 0.9), 2: (0.38, 0.52), 3: (0.32, 0.44)}
_COUNT_SHARES = (0.58, 0.36, 0.06)


@dataclass(frozen=True)
class Scene:
    """image uint8 [128,128,3]; masks float32 [K,128,128] in 0..1, one for each of `items`."""

    image: np.ndarray
    masks: np.ndarray
    items: tuple[Item, ...]
    caption: str
    backdrop: str

    def prompt(self) -> str:
        """Return a caption by categories, as for objects whose names the base never learnt."""
        nouns = [with_article(item.category) for item in self.items]
        if len(nouns) == 2:
            nouns = [f"{nouns[0]} on the left", f"{nouns[1]} on the right"]
        return f"{_join(nouns)} {self.backdrop}"


class SceneSet:
    """All scenes of one split; `folder` holds the pictures as CODE.webp (256 px RGBA)."""

    def __init__(self, folder: Path, split: Split, seed: int = 0) -> None:
        self.items = load_items(split)
        self._key = (seed, _SPLIT_KEYS[split])
        self._sprites = [_load_sprite(folder / f"{item.code}.webp") for item in self.items]

    def scene(self, index: int, count: int | None = None, subject: int | None = None) -> Scene:
        """Return scene `index`, of `count` (1..3) objects, the first being `subject` of `items`."""
        rng = np.random.default_rng((*self._key, index))
        drawn = 1 + int(rng.choice(3, p=_COUNT_SHARES))
        count = count or drawn
        image, backdrop = background(SIZE, rng)
        chosen = rng.choice(len(self.items), size=count, replace=False)
        if subject is not None:
            chosen = np.array([subject, *chosen[chosen != subject]])[:count]
        masks = []
        for which, centre in zip(chosen, _centres(count, rng), strict=True):
            extent = SIZE * rng.uniform(*_EXTENT[count])
            sprite = _place(self._sprites[which], extent, centre, rng)
            alpha = sprite[..., 3]
            image = image * (1 - alpha[..., None]) + sprite[..., :3]
            masks = [mask * (1 - alpha) for mask in masks] + [alpha]
        items = tuple(self.items[which] for which in chosen)
        pixels = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
        return Scene(pixels, np.stack(masks), items, _caption(items, backdrop, rng), backdrop)


def _load_sprite(path: Path) -> np.ndarray:
    """Premultiplied RGBA float32 [256,256,4] in 0..1."""
    raw = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if raw is None or raw.shape[-1] != 4:
        raise FileNotFoundError(
            f"{path} is not an RGBA picture; run `python -m lab.world.data` first"
        )
    rgba = cv2.cvtColor(raw, cv2.COLOR_BGRA2RGBA).astype(np.float32) / 255
    rgba[..., :3] *= rgba[..., 3:]
    return rgba


def _centres(count: int, rng: Generator) -> list[np.ndarray]:
    """Object centres (x, y) as shares of the frame: left to right, a row or a triangle."""
    layouts = {
        1: [(0.5, 0.5)],
        2: [(0.27, 0.5), (0.73, 0.5)],
        3: [(0.25, 0.3), (0.5, 0.73), (0.75, 0.3)],
    }
    spread = 0.06 if count == 1 else 0.04
    centres = [np.array(c) + rng.uniform(-spread, spread, 2) for c in layouts[count]]
    if count == 2:
        centres = [c + np.array([0, rng.uniform(-0.14, 0.14)]) for c in centres]
    return centres


def _place(sprite: np.ndarray, extent: float, centre: np.ndarray, rng: Generator) -> np.ndarray:
    """Scale, turn, perhaps flip a sprite and move it to `centre` -> RGBA [128,128,4]."""
    side = int(extent)
    small = cv2.resize(sprite, (side, side), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.5:
        small = small[:, ::-1]
    angle = rng.normal(0, 5)
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), angle, 1)
    matrix[:, 2] += centre * SIZE - side / 2
    return cv2.warpAffine(np.ascontiguousarray(small), matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR)


def _noun(item: Item, rng: Generator) -> str:
    """The object's name, sometimes with its category, sometimes the category alone."""
    draw = rng.random()
    if draw < 0.70:
        return with_article(item.name)
    if draw < 0.85:
        return f"{with_article(item.category)}, {item.name}"
    return with_article(item.category)


def _caption(items: tuple[Item, ...], backdrop: str, rng: Generator) -> str:
    nouns = [_noun(item, rng) for item in items]
    if len(items) == 2 and rng.random() < 0.6:
        nouns = [f"{nouns[0]} on the left", f"{nouns[1]} on the right"]
    return _join(nouns) if rng.random() < 0.1 else f"{_join(nouns)} {backdrop}"


def _join(nouns: list[str]) -> str:
    return " and ".join(nouns) if len(nouns) < 3 else f"{nouns[0]}, {nouns[1]} and {nouns[2]}"
