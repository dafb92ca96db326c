"""What is evaluated: pictures, masks, prompts and seeds, fixed in `evaluation_set.toml`."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, overload

import cv2
import numpy as np
import torch
from torch import Tensor

from ..data.augment import crop_sample, plan_crop
from ..data.checked import Checked
from ..data.random_streams import CROP, generator
from ..data.records import DatasetError
from ..data.words import shown

EVALUATION_SET = Path(__file__).parent / "evaluation_set.toml"
# Pictures that are kept in memory: those of a batch or two.
_SQUARES = 16


class _Square(NamedTuple):
    """What of a picture its cases share: objects are its masks float [K,H,W] in 0..1."""

    key: str
    image: Tensor
    condition: Tensor | None
    objects: np.ndarray


@dataclass(frozen=True)
class Case:
    """One picture [3,H,W] in 0..1 controlled through one mask [1,H,W], under one prompt and seed.

    picture: the key that groups cases of the same picture, over which intervals are taken.
    condition: its own [3,H,W] in 0..1, where the data has a column of them.
    """

    picture: str
    image: Tensor
    mask: Tensor
    mask_name: str
    prompt: str
    seed: int
    condition: Tensor | None = None


def read_evaluation_set(path: Path = EVALUATION_SET) -> dict[str, Any]:
    """Return the seeds, prompts and masks of a file, by these names.

    Raises:
        DatasetError: the file is no TOML, or one of them is missing or of another form.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise DatasetError(f"{path} is no TOML (it is nested too deep).") from None
    except ValueError as error:
        raise DatasetError(f"{path} is no TOML ({shown(str(error))}).") from None
    for key, (kind, is_one, form) in _FORMS.items():
        values = found.get(key)
        if not values:
            raise DatasetError(f"{path} names no {key}; see the one in training/.")
        entries = values.values() if isinstance(values, dict) else values
        if not (isinstance(values, kind) and all(map(is_one, entries))):
            raise DatasetError(f"{path} has {shown(values)} for {key}; write {form}.")
    return found


def _is_seed(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_prompt(value: Any) -> bool:
    return isinstance(value, str)


def _is_shape(value: Any) -> bool:
    """Whether a value says where a mask is, and that there is some of it in the picture."""
    if value == "object":
        return True
    match value:
        case {"box": [left, top, right, bottom], **rest}:
            sides = left, top, right, bottom
            return not rest and _are_shares(*sides) and left < right and top < bottom
        case {"ellipse": [x, y, rx, ry], **rest}:
            return not rest and _are_shares(x, y, rx, ry) and rx > 0 and ry > 0
    return False


def _are_shares(*values: Any) -> bool:
    return all(type(value) in (int, float) and 0 <= value <= 1 for value in values)


_SHAPES = '"object", { box = [left, top, right, bottom] } or { ellipse = [x, y, rx, ry] }'
# What a set is made of: its type, what each entry must be, and that in words.
_FORMS = {
    "seeds": (list, _is_seed, "a list of whole numbers from 0"),
    "prompts": (list, _is_prompt, "a list of texts"),
    "masks": (dict, _is_shape, f"a table with {_SHAPES} for each name, in shares of the sides"),
}


def draw_mask(shape: Any, size: tuple[int, int], objects: np.ndarray) -> Tensor | None:
    """Return a mask [1,H,W] of 0 and 1, or the picture's own in 0..1, by its entry in the set.

    shape: a box or an ellipse in shares of the sides, or "object" for the first of `objects`
    [K,H,W]. None: there is no such object in this crop, so nothing would be controlled.
    """
    height, width = size
    if shape == "object":
        return torch.from_numpy(objects[:1]) if (objects[:1] >= 0.5).any() else None
    mask = np.zeros(size, np.float32)
    if "box" in shape:
        left, top, right, bottom = shape["box"]
        mask[
            round(top * height) : round(bottom * height),
            round(left * width) : round(right * width),
        ] = 1
    else:
        x, y, rx, ry = shape["ellipse"]
        centre, axes = (x * width, y * height), (2 * rx * width, 2 * ry * height)
        cv2.ellipse(mask, (centre, axes, 0.0), 1.0, -1)
    return torch.from_numpy(mask)[None]


class Cases(Sequence[Case]):
    """Every picture (its centre square) with every mask and seed, read when it is asked for.

    data: the pictures. resolution: px, side of the squares. chosen: what `read_evaluation_set`
    returns. masks: names of those of the set that are used; none: all. invert: the pictures' own
    masks are black = controlled.

    Raises:
        DatasetError: a mask is not in the set, or no picture has one of those asked for.
    """

    def __init__(
        self,
        data: Checked,
        resolution: int,
        chosen: dict[str, Any],
        masks: Sequence[str] = (),
        invert: bool = False,
    ) -> None:
        self._data = data
        self._resolution = resolution
        self._chosen = chosen
        self._invert = invert
        self._squares = lru_cache(_SQUARES)(self._read)
        names = list(masks) or list(chosen["masks"])
        if unknown := set(names) - chosen["masks"].keys():
            raise DatasetError(f"The evaluation set has no mask {sorted(unknown)[0]!r}.")
        self._places = [
            (index, name, seed)
            for index in range(len(data))
            for name in names
            if chosen["masks"][name] != "object" or self._mask(index, name) is not None
            for seed in chosen["seeds"]
        ]
        if not self._places:
            raise DatasetError("No picture has a mask of its own; choose other --masks.")

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Case: ...
    @overload
    def __getitem__(self, index: slice) -> list[Case]: ...
    def __getitem__(self, index: int | slice) -> Case | list[Case]:
        if isinstance(index, slice):
            return [self._case(*place) for place in self._places[index]]
        return self._case(*self._places[index])

    @property
    def pictures(self) -> list[str]:
        """Return the key of each case's picture."""
        return [self._data.entry(index).key for index, _, _ in self._places]

    @property
    def prompts(self) -> list[str]:
        """Return each case's prompt."""
        return [self._prompt(index) for index, _, _ in self._places]

    def _prompt(self, index: int) -> str:
        prompts = self._chosen["prompts"]
        return self._data.entry(index).caption or prompts[index % len(prompts)]

    def _case(self, index: int, name: str, seed: int) -> Case:
        square, mask, prompt = self._squares(index), self._mask(index, name), self._prompt(index)
        assert mask is not None
        return Case(square.key, square.image, mask, name, prompt, seed, square.condition)

    def _mask(self, index: int, name: str) -> Tensor | None:
        shape, size = self._chosen["masks"][name], (self._resolution, self._resolution)
        return draw_mask(shape, size, self._squares(index).objects)

    def _read(self, index: int) -> _Square:
        record = self._data[index]
        crop = plan_crop(
            self._data.entry(index).size,
            (self._resolution, self._resolution),
            generator(CROP, 0),
            random=False,
            flip=False,
        )
        sample = crop_sample(record.load(), crop)
        condition = None if sample.condition is None else _to_tensor(sample.condition)
        masks = sample.masks.astype(np.float32) / 255
        objects = 1 - masks if self._invert else masks
        return _Square(record.key, _to_tensor(sample.image), condition, objects)


def picture_keys(cases: Sequence[Case]) -> list[str]:
    """Return the key of each case's picture, without reading pictures where that can be."""
    return cases.pictures if isinstance(cases, Cases) else [case.picture for case in cases]


def prompts_of(cases: Sequence[Case]) -> list[str]:
    """Return each case's prompt, without reading pictures where that can be."""
    return cases.prompts if isinstance(cases, Cases) else [case.prompt for case in cases]


def _to_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image).movedim(-1, 0).float() / 255


def first_of_each(pictures: Sequence[str]) -> list[int]:
    """Return the index of the first case of every picture, by the keys of cases' pictures."""
    first: dict[str, int] = {}
    for index, picture in enumerate(pictures):
        first.setdefault(picture, index)
    return list(first.values())


def spread_out(pictures: Sequence[str], count: int) -> list[int]:
    """Return `count` indices of cases, of as many pictures, masks and seeds as there can be."""
    members: dict[str, list[int]] = {}
    for index, picture in enumerate(pictures):
        members.setdefault(picture, []).append(index)
    # Each picture begins with another one of its cases, since all have the same masks and seeds.
    turned = [own[i % len(own) :] + own[: i % len(own)] for i, own in enumerate(members.values())]
    longest = max(map(len, turned), default=0)
    order = [own[turn] for turn in range(longest) for own in turned if turn < len(own)]
    return sorted(order[:count])
