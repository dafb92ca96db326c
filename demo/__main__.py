"""The one-command demo: a real ComfyUI, our nodes, one picture that explains itself.

python -m demo [--open_browser]
"""

import copy
import io
import json
import logging
import webbrowser
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import Field
from tqdm import tqdm

from testbed.comfyui import BUILD
from testbed.server import ComfyServer
from testbed.workflow import find, to_prompt
from training.config.commands import CommandSettings, read_settings

from .base import ADAPTERS, CHECKPOINT
from .example_files import EDGES_PICTURE, SEVERAL_REGIONS, WATCH, copy_pictures
from .sheet import draw, draw_regions, sheet
from .templates.thumbnails import write_thumbnails
from .workspace import default_workspace, prepare_demo_workspace

log = logging.getLogger("demo")


class DemoSettings(CommandSettings):
    """Settings of the demo; every one is a command-line flag."""

    output: Path = Field(BUILD / "demo.png", description="the picture that is written")
    seed: int = Field(0, description="the noise that sampling begins with")
    open_browser: bool = Field(False, description="leave the server up, and open its page")
    thumbnails: bool = Field(False, description="renew the pictures of the template browser")


def variants(prompt: dict[str, Any], seed: int) -> dict[str, dict[str, Any]]:
    """Return the example's prompt: without control, with it everywhere, and as it is."""
    local = copy.deepcopy(prompt)
    sampler = find(local, "KSampler")
    local[sampler]["inputs"]["seed"] = seed

    none = copy.deepcopy(local)
    control = none[find(none, "LocalControl_Apply")]["inputs"]
    none[sampler]["inputs"] |= {key: control[key] for key in ("positive", "negative")}

    whole = copy.deepcopy(local)
    with Image.open(EDGES_PICTURE) as picture:
        width, height = picture.size
    white = {"value": 1.0, "width": width, "height": height}
    whole["everywhere"] = {"class_type": "SolidMask", "inputs": white}
    whole[find(whole, "LocalControl_Region")]["inputs"]["mask"] = ["everywhere", 0]
    return {"no control": none, "control everywhere": whole, "local control": local}


def run_variant(server: ComfyServer, name: str, prompt: dict[str, Any]) -> dict[str, list]:
    """Return a prompt's pictures by the class of their node; a progress bar shows its run."""
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


def main() -> None:
    """Set up, run, measure, draw."""
    settings = read_settings(DemoSettings)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    workspace = prepare_demo_workspace(
        default_workspace(),
        {"checkpoints": [CHECKPOINT], "controlnet": list(ADAPTERS.values())},
    )
    copy_pictures(workspace / "input")
    log.info("Starting ComfyUI (its log is %s)", workspace / "server.log")
    with ComfyServer(workspace) as server:
        info = server.object_info()
        prompt, several = (
            to_prompt(json.loads(path.read_text()), info) for path in (WATCH, SEVERAL_REGIONS)
        )
        several[find(several, "KSampler")]["inputs"]["seed"] = settings.seed
        results = {
            name: run_variant(server, name, variant)
            for name, variant in variants(prompt, settings.seed).items()
        }
        regions = run_variant(server, "several regions", several)
        rows = [*draw(results, prompt), draw_regions(regions, several)]
        sheet(rows).save(settings.output)
        if settings.thumbnails:
            write_thumbnails(server)
        log.info("The picture is %s", settings.output)
        if settings.open_browser:
            log.info("Open %s, then Templates > Extensions > local_control", server.url)
            log.info("Ctrl+C stops the server.")
            webbrowser.open(server.url)
            server.wait()


if __name__ == "__main__":
    main()
