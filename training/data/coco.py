"""COCO: pictures with captions and instance masks."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .contents import FileContent
from .digests import digest
from .pictures import Size
from .polygons import draw
from .records import DatasetError, Record, Row, rows_stamp
from .tables import read_json
from .trusted_paths import TrustedPaths
from .words import shown

# By how much the shapes of a picture and of its annotation may differ, by rounding when scaled.
_SAME_SHAPE = 0.02
# Bytes that a pixel of a frame takes while a mask is drawn, and a character of what it is drawn of.
_DRAWING, _READING = 4, 64


@dataclass(frozen=True)
class _Instances:
    """Polygons and run lengths in a frame (height, width), as JSON."""

    segmentations: tuple[str, ...]
    frame: Size

    def __len__(self) -> int:
        return len(self.segmentations)

    def read(self) -> list[bytes]:
        """Return each of them, and the frame last."""
        return [*(text.encode() for text in self.segmentations), json.dumps(self.frame).encode()]

    def footprint(self, size: Size) -> int:
        """Return the bytes of their numbers, of the masks, and of one in its frame meanwhile."""
        lengths = [len(text) for text in self.segmentations]
        drawn = _DRAWING * self.frame[0] * self.frame[1] + _READING * max(lengths)
        return sum(lengths) + drawn + len(self) * size[0] * size[1]

    def draw(self, data: Sequence[bytes], size: Size) -> np.ndarray:
        """Return them as masks uint8 [K,H,W], scaled with the picture.

        Raises:
            ValueError: the picture has another shape, or one of them is not sound.
        """
        (height, width), (of_height, of_width) = size, self.frame
        if abs(width / height * of_height / of_width - 1) > _SAME_SHAPE:
            raise ValueError(
                f"the picture is {width} x {height}, its annotation of {of_width} x {of_height}"
            )
        masks = np.empty((len(self), *size), np.uint8)
        for index, text in enumerate(data[:-1]):
            mask = 255 * draw(json.loads(text), self.frame)
            if size != self.frame:
                mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA)
            masks[index] = mask
        return masks

    def stamp(self) -> str:
        """Return a name for them."""
        return digest(*self.read())


class Coco:
    """COCO: pictures, captions and instance masks from its annotation files."""

    def __init__(
        self, images: Path, instances: Path, captions: Path | None = None, outside: bool = False
    ) -> None:
        self._paths = TrustedPaths(images, outside)
        self._folder = images
        self._files = (instances, captions)
        for path in filter(None, self._files):
            if not path.is_file():
                raise DatasetError(f"There is no file {path}.")
        if not images.is_dir():
            raise DatasetError(f"There is no folder {images}; name one with --train_data_dir.")

    def stamp(self) -> str:
        """Return what changes when an annotation file does, or a picture that it names."""
        stamps = [FileContent(path).stamp() for path in self._files if path is not None]
        about = [str(self._folder.resolve()), self._paths.anywhere, self._files[1] is None]
        return digest(*about, *stamps, rows_stamp(self))

    def rows(self) -> Iterator[Row]:
        """Yield the pictures of the annotation file in the order of their ids.

        Raises:
            DatasetError: an annotation file is not as COCO writes them.
        """
        instances, captions = self._files
        table = _read_coco(instances, "images", "annotations")
        if not isinstance(table.get("categories") or [], list):
            raise DatasetError(
                f"{instances} has no list for its 'categories', as COCO's annotations have."
            )
        drawn = _by_image(table["annotations"])
        names = {_id(c.get("id")): c.get("name") for c in _objects(table.get("categories"))}
        written: dict[str, list[Row]] = {}
        if captions is not None:
            written = _by_image(_read_coco(captions, "annotations")["annotations"])
        for image in sorted(_objects(table["images"]), key=_order):
            of_image = _id(image.get("id"))
            entries = drawn.get(of_image, [])
            text = next((entry.get("caption") for entry in written.get(of_image, [])), None)
            if text is None:
                found = [names.get(_id(entry.get("category_id"))) for entry in entries]
                text = ", ".join(dict.fromkeys(name for name in found if isinstance(name, str)))
            shapes = [entry.get("segmentation") for entry in entries]  # some are boxes alone
            yield {
                "image": image.get("file_name"),
                "frame": [image.get("height"), image.get("width")],
                "text": text,
                "masks": [json.dumps(shape) for shape in shapes if shape],
            }

    def record(self, row: Row) -> Record:
        """Return how the sample of a row is read; ValueError: it names no file or no frame."""
        name, (height, width) = row["image"], map(_whole, row["frame"])
        if not isinstance(name, str) or not name:
            raise ValueError(f"an entry of its images has {shown(name)} for file_name")
        if not all(type(side) is int and side > 0 for side in (height, width)):
            raise ValueError(f"{shown(name)} has {shown(row['frame'])} for its height and width")
        return Record(
            shown(name, 1000),
            FileContent(self._paths.find(name)),
            row["text"] if isinstance(row["text"], str) else "",
            masks=_Instances(tuple(row["masks"]), (height, width)) if row["masks"] else None,
        )

    def passed_over(self) -> Mapping[str, int]:
        """Return nothing: what the annotations do not name is not looked for."""
        return {}


def _objects(values: Any) -> list[Row]:
    return [value for value in values if isinstance(value, dict)] if values else []


def _whole(value: Any) -> Any:
    """A number that some tools write as 640.0, as an integer; anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _id(value: Any) -> str:
    """An id of any type as what can be looked up."""
    return json.dumps(value)


def _order(entry: Row) -> tuple[bool, int, str]:
    """By number, and after them by whatever else ids are."""
    value = entry.get("id")
    number = type(value) is int
    return not number, value if number else 0, _id(value)


def _by_image(annotations: list[Any]) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = {}
    for annotation in _objects(annotations):
        grouped.setdefault(_id(annotation.get("image_id")), []).append(annotation)
    return grouped


def _read_coco(path: Path, *parts: str) -> dict[str, Any]:
    """An annotation file; DatasetError if it lacks one of the lists that COCO's have."""
    found = read_json(path)
    for part in parts:
        if not isinstance(found, dict) or not isinstance(found.get(part), list):
            raise DatasetError(f"{path} has no list {part!r}, as COCO's annotations have.")
    return found
