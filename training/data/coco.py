"""COCO: pictures with captions and instance masks."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .pictures import PictureFile, Size
from .records import DatasetError, Record, file_stamp

# By how much the shapes of a picture and of its annotation may differ, by rounding when scaled.
_SAME_SHAPE = 0.02


@dataclass(frozen=True)
class _Instances:
    """Polygons and run lengths in a frame (height, width) as a reader of masks [K,H,W]."""

    segmentations: tuple[Any, ...]
    frame: Size

    def __call__(self, size: Size) -> np.ndarray:
        """Draw them, and scale them with the picture; ValueError if it has another shape."""
        if not self.segmentations:
            return np.zeros((0, *size), np.float32)
        (height, width), (of_height, of_width) = size, self.frame
        if abs(width / height * of_height / of_width - 1) > _SAME_SHAPE:
            raise ValueError(
                f"the picture is {width} x {height}, its annotation of {of_width} x {of_height}"
            )
        drawn = [rasterise(segmentation, self.frame) for segmentation in self.segmentations]
        if size != self.frame:
            drawn = [
                cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA) for mask in drawn
            ]
        return np.stack(drawn)


class Coco:
    """COCO: pictures, captions and instance masks from its annotation files."""

    def __init__(self, images: Path, instances: Path, captions: Path | None = None) -> None:
        table = _read_coco(instances, "images", "annotations")
        self._folder = images
        self._stamp = file_stamp(instances)
        self._images = sorted(table["images"], key=lambda entry: entry["id"])
        self._instances = _group(table["annotations"])
        self._categories = {c["id"]: c["name"] for c in table.get("categories", [])}
        self._captions: Mapping[int, list[dict[str, Any]]] = {}
        if captions is not None:
            self._captions = _group(_read_coco(captions, "annotations")["annotations"])

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Record:
        image = self._images[index]
        instances = self._instances.get(image["id"], [])
        written = self._captions.get(image["id"], [])
        names = dict.fromkeys(self._categories.get(i["category_id"], "") for i in instances)
        caption = written[0]["caption"] if written else ", ".join(filter(None, names))

        drawn = (instance.get("segmentation") for instance in instances)  # some are boxes alone
        frame = (image["height"], image["width"])
        masks = _Instances(tuple(filter(None, drawn)), frame)
        path = self._folder / image["file_name"]
        stamp = f"{file_stamp(path)} {self._stamp}"
        return Record(image["file_name"], stamp, caption, PictureFile(path), None, masks)


def _read_coco(path: Path, *parts: str) -> dict[str, Any]:
    """An annotation file; DatasetError if it lacks one of the lists that COCO's have."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DatasetError(f"{path} is no JSON ({error}); COCO's annotations are.") from None
    for part in parts:
        if not isinstance(found, dict) or not isinstance(found.get(part), list):
            raise DatasetError(f"{path} has no list {part!r}, as COCO's annotations have.")
    return found


def _group(annotations: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    grouped: dict[int, list[dict[str, Any]]] = {}
    for annotation in annotations:
        grouped.setdefault(annotation["image_id"], []).append(annotation)
    return grouped


def rasterise(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """COCO polygons or run lengths -> mask float32 [H,W]; ValueError if they are neither."""
    from pycocotools import mask as coco

    height, width = size
    if isinstance(segmentation, list):
        polygons = [found for found in segmentation if isinstance(found, list) and len(found) >= 6]
        if not polygons:
            raise ValueError("a polygon in its annotation has less than three corners")
        runs = coco.merge(coco.frPyObjects(polygons, height, width))
    elif isinstance(segmentation["counts"], list):
        runs = coco.frPyObjects(segmentation, height, width)
    else:
        runs = segmentation
    return coco.decode(runs).astype(np.float32)
