"""The picture that explains the demo."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from local_control.metrics import edge_match, leak
from testbed.workflow import find, viewer_of

from .canny import EDGES
from .example_files import EDGES_PICTURE, mask_of

log = logging.getLogger(__name__)

Row = list[tuple[str, Image.Image]]
_CELL = 256


def to_tensor(image: Image.Image) -> Tensor:
    """Return an RGB picture as [1,3,H,W] in 0..1."""
    return torch.from_numpy(np.array(image)).movedim(-1, 0)[None].float() / 255


def read_masked(path: Path) -> tuple[Image.Image, Tensor]:
    """Return a picture and its mask [1,1,H,W] in 0..1."""
    with Image.open(path) as picture, Image.open(mask_of(path)) as mask:
        white = torch.from_numpy(np.array(mask.convert("L"))).float() / 255
        return picture.convert("RGB"), white[None, None]


def measure(result: Image.Image, free: Image.Image, source: Image.Image, mask: Tensor) -> str:
    """Return adherence and freedom of one picture, in words."""
    picture = to_tensor(result)
    f1 = edge_match(EDGES(picture), EDGES(to_tensor(source)), mask).f1.item()
    text = f"edge F1 inside {f1:.2f}"
    if result is not free:
        text += f", leak {leak(picture, to_tensor(free), mask).item():.2f}"
    return text


def sheet(rows: list[Row]) -> Image.Image:
    """Return captioned pictures in rows."""
    font = ImageFont.load_default(15)
    line = 44
    width = max(len(row) for row in rows) * (_CELL + 8) + 8
    canvas = Image.new("RGB", (width, len(rows) * (_CELL + line) + 8), "white")
    draw = ImageDraw.Draw(canvas)
    for y, row in enumerate(rows):
        for x, (caption, picture) in enumerate(row):
            left, top = 8 + x * (_CELL + 8), 8 + y * (_CELL + line)
            canvas.paste(picture.resize((_CELL, _CELL), Image.Resampling.LANCZOS), (left, top))
            draw.multiline_text((left, top + _CELL + 2), caption, "black", font, spacing=2)
    return canvas


def draw(results: dict[str, dict[str, list]], prompt: dict[str, Any]) -> list[Row]:
    """Return condition, results and z0' frames of one region; adherence and freedom are logged."""
    saved = "SaveImage" + find(prompt, "SaveImage")
    frames_node = viewer_of(prompt, [find(prompt, "LocalControl_Z0Frames"), 0])
    source, mask = read_masked(EDGES_PICTURE)
    edges = Image.fromarray((EDGES(to_tensor(source))[0, 0] * 255).byte().numpy()).convert("RGB")
    inside = Image.fromarray((mask[0, 0] * 255).byte().numpy())
    green = Image.composite(Image.new("RGB", edges.size, (40, 110, 60)), edges, inside)
    masked = Image.blend(edges, green, 0.6)
    free = results["no control"][saved][0]
    top = [("condition: edges of a picture\ngreen: the mask, white = controlled", masked)]
    for name, result in results.items():
        words = measure(result[saved][0], free, source, mask)
        log.info("%26s: %s", name, words)
        top.append((f"{name}\n{words}", result[saved][0]))
    frames = results["local control"]["PreviewImage" + frames_node]
    chosen = [round(i * (len(frames) - 1) / 3) for i in range(4)]
    bottom = [(f"z0' after step {i + 1} of {len(frames)}", frames[i]) for i in chosen]
    return [top, bottom]


def draw_regions(result: dict[str, list], prompt: dict[str, Any]) -> Row:
    """Return where several regions act, the result, and the report of each score."""
    outlines = result["LocalControl_PreviewRegions" + find(prompt, "LocalControl_PreviewRegions")]
    row = [
        ("two regions: edges of one picture (1)\nand colours of another (2)", outlines[0]),
        ("local control in both", result["SaveImage" + find(prompt, "SaveImage")][0]),
    ]
    words = {
        "edges": "edges: green match, red are missing,\nblue invented",
        "colour": "colours: error in red",
    }
    for node, entry in prompt.items():
        if entry["class_type"] == "LocalControl_Score":
            row.append((words[entry["inputs"]["kind"]], result["LocalControl_Score" + node][0]))
    return row
