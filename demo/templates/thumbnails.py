"""The pictures of the template browser: what each template starts from, and what comes of it."""

import io
import json
import shutil
from pathlib import Path

from PIL import Image, ImageEnhance

from testbed.server import ComfyServer
from testbed.workflow import EXAMPLES, find, to_prompt

from ..example_files import DEMO_EXAMPLES, EDGES_PICTURE, PICTURES, mask_of
from .listing import TEMPLATES, Template

_CELL = 256
_DIM = 0.45
_TWO = "several_regions"


def write_thumbnails(server: ComfyServer) -> None:
    """Run every template of the demo model; others show the same, or the first one's result."""
    infos = server.object_info()
    made: dict[str, Path] = {}
    for template in TEMPLATES:
        if template.kit.suffix == "demo":
            path = DEMO_EXAMPLES / f"{template.name}.json"
            outputs = server.run(prompt := to_prompt(json.loads(path.read_text()), infos))
            (entry,) = outputs[find(prompt, "SaveImage")]["images"]
            result = Image.open(io.BytesIO(server.image(entry)))
            made[template.draw.__name__] = _write(template, result, path.with_suffix(".jpg"))
    first = next(iter(made.values()))
    for template in TEMPLATES:
        if template.kit.suffix != "demo":
            source = made.get(template.draw.__name__, first)
            shutil.copy(source, EXAMPLES / f"{template.name}.jpg")


def _write(template: Template, result: Image.Image, path: Path) -> Path:
    """The picture with all but its region dimmed, and the result beside it."""
    sources = PICTURES if template.draw.__name__ == _TWO else (EDGES_PICTURE,)
    cells = [*map(_dimmed, sources), result]
    canvas = Image.new("RGB", (len(cells) * _CELL, _CELL))
    for i, cell in enumerate(cells):
        canvas.paste(cell.resize((_CELL, _CELL), Image.Resampling.LANCZOS), (i * _CELL, 0))
    canvas.save(path, quality=90)
    return path


def _dimmed(path: Path) -> Image.Image:
    with Image.open(path) as picture, Image.open(mask_of(path)) as mask:
        whole = picture.convert("RGB")
        return Image.composite(whole, ImageEnhance.Brightness(whole).enhance(_DIM), mask)
