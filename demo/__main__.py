"""The one-command demo: a real ComfyUI, our nodes, one picture that explains itself.

python -m demo [--open_browser true]
"""

import copy
import io
import json
import logging
import webbrowser
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from tqdm import tqdm

from local_control.metrics import edge_match, leak
from training.settings import CommandSettings, read_settings

from .base import CHECKPOINT, WEIGHTS
from .cases import EDGES
from .comfyui import BUILD, ROOT
from .server import ComfyServer, default_workspace, prepare_workspace
from .workflow import find, to_prompt

log = logging.getLogger("demo")

WORKFLOW = ROOT / "example_workflows" / "one_region_demo.json"
PICTURE = ROOT / "demo" / "pictures" / "local_control_demo.png"
ADAPTERS = {name: WEIGHTS / f"{name}_canny_demo.safetensors" for name in ("plain", "local")}
_CELL = 256


class Config(CommandSettings):
    """Settings of the demo; every one is a command-line flag."""

    output: Path = BUILD / "demo.png"
    seed: int = 0
    open_browser: bool = False


def variants(prompt: dict[str, Any], seed: int) -> dict[str, dict[str, Any]]:
    """The example's prompt as it is, without control, and with the plain adapter everywhere."""
    local = copy.deepcopy(prompt)
    sampler = find(local, "KSampler")
    local[sampler]["inputs"]["seed"] = seed

    none = copy.deepcopy(local)
    control = none[find(none, "LocalControl_Apply")]["inputs"]
    none[sampler]["inputs"] |= {key: control[key] for key in ("positive", "negative")}

    plain = copy.deepcopy(local)
    plain[find(plain, "LocalControl_LoadAdapter")]["inputs"]["adapter_name"] = ADAPTERS[
        "plain"
    ].name
    with Image.open(PICTURE) as picture:
        width, height = picture.size
    white = {"value": 1.0, "width": width, "height": height}
    plain["everywhere"] = {"class_type": "SolidMask", "inputs": white}
    plain[find(plain, "LocalControl_Region")]["inputs"]["mask"] = ["everywhere", 0]
    return {"no control": none, "plain adapter everywhere": plain, "local control": local}


def run_variant(server: ComfyServer, name: str, prompt: dict[str, Any]) -> dict[str, list]:
    """Run one prompt under a progress bar; pictures by the class of the node that made them."""
    with tqdm(desc=f"{name:>26}", unit="step") as bar:

        def progress(_node: str, step: int, steps: int) -> None:
            bar.total, bar.n = steps, step
            bar.refresh()

        outputs = server.run(prompt, progress)
    return {
        prompt[node]["class_type"] + node: [
            Image.open(io.BytesIO(server.image(entry))).convert("RGB") for entry in output["images"]
        ]
        for node, output in outputs.items()
        if "images" in output
    }


def to_tensor(image: Image.Image) -> Tensor:
    """RGB picture -> [1,3,H,W] in 0..1."""
    return torch.from_numpy(np.array(image)).movedim(-1, 0)[None].float() / 255


def measure(result: Image.Image, free: Image.Image, source: Image.Image, mask: Tensor) -> str:
    """Adherence and freedom of one picture, in words."""
    picture = to_tensor(result)
    f1 = edge_match(EDGES(picture), EDGES(to_tensor(source)), mask).f1.item()
    text = f"edge F1 inside {f1:.2f}"
    if result is not free:
        text += f", leak {leak(picture, to_tensor(free), mask).item():.2f}"
    return text


def sheet(rows: list[list[tuple[str, Image.Image]]]) -> Image.Image:
    """Captioned pictures in rows."""
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


def main() -> None:
    """Set up, run, measure, draw."""
    config = read_settings(Config)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    workspace = prepare_workspace(
        default_workspace(),
        {"checkpoints": [CHECKPOINT], "controlnet": list(ADAPTERS.values())},
    )
    (workspace / "input" / PICTURE.name).write_bytes(PICTURE.read_bytes())
    log.info("Starting ComfyUI (its log is %s)", workspace / "server.log")
    with ComfyServer(workspace) as server:
        prompt = to_prompt(json.loads(WORKFLOW.read_text()), server.object_info())
        results = {
            name: run_variant(server, name, variant)
            for name, variant in variants(prompt, config.seed).items()
        }
        draw(results, prompt).save(config.output)
        log.info("The picture is %s", config.output)
        if config.open_browser:
            log.info("Open %s, then Workflow > Browse Templates > local_control", server.url)
            log.info("Ctrl+C stops the server.")
            webbrowser.open(server.url)
            server.wait()


def draw(results: dict[str, dict[str, list]], prompt: dict[str, Any]) -> Image.Image:
    """The explaining picture; logs adherence and freedom of each variant."""
    saved = "SaveImage" + find(prompt, "SaveImage")
    frames_node = next(
        node
        for node, entry in prompt.items()
        if entry["class_type"] == "PreviewImage"
        and prompt[entry["inputs"]["images"][0]]["class_type"] == "LocalControl_Z0Frames"
    )
    with Image.open(PICTURE) as picture:
        alpha = torch.from_numpy(np.array(picture.getchannel("A"))).float() / 255
        source = picture.convert("RGB")
    mask = (1 - alpha)[None, None]
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
    return sheet([top, bottom])


if __name__ == "__main__":
    main()
