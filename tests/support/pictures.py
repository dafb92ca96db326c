"""The pictures of the help pages and of the README, from the demo in a real browser.

python tests/support/pictures.py                        # all of them
python tests/support/pictures.py LocalControl_Region    # some, by their names

Needs what `make demo` sets up, and a Chromium. The workflows run on the demo model; what that
cannot run is shown as it opens.
"""

import io
import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import requests
from comfy_page import button, open_template, run, settle, wait_for_pictures
from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]
HELP = ROOT / "web" / "docs"
README = ROOT / "docs" / "pictures"
MOST_BYTES = 60_000
_MARGIN = 22
_RUN_MS = 900_000
_CORNER = (110, 200)  # where what is shown begins, beside the frontend's own bars and notices
_LEAST_QUALITY, _QUALITY_STEP = 40, 8

# Puts what is shown into the corner, at a scale; returns its place on the screen. All nodes are
# shown with their groups.
_SHOW = """([ids, scale, margin, [x, y]]) => {
    const { canvas, graph } = window.app;
    const groups = ids.length === graph._nodes.length ? graph._groups : [];
    const nodes = ids.map((id) => graph.getNodeById(id)).map(({ id, pos, size }) => {
        const drawn = document.querySelector(`[data-node-id='${id}']`);
        const now = canvas.ds.scale;
        const { width, height } = drawn
            ? drawn.getBoundingClientRect()
            : { width: now * size[0], height: now * (size[1] + 30) };
        return [pos[0], pos[1] - 30, pos[0] + width / now, pos[1] - 30 + height / now];
    });
    const areas = groups.map(({ pos: [x, y], size: [wide, high] }) => [x, y, x + wide, y + high]);
    const boxes = [...nodes, ...areas];
    const [left, top] = [0, 1].map((i) => Math.min(...boxes.map((box) => box[i])) - margin);
    const [right, bottom] = [2, 3].map((i) => Math.max(...boxes.map((box) => box[i])) + margin);
    canvas.deselectAll?.();
    canvas.ds.scale = scale;
    canvas.ds.offset[0] = x / scale - left;
    canvas.ds.offset[1] = y / scale - top;
    canvas.setDirty(true, true);
    const place = canvas.canvas.getBoundingClientRect();
    const [width, height] = [scale * (right - left), scale * (bottom - top)];
    return { x: place.left + x, y: place.top + y, width, height };
}"""

# Moves the sliders of comparisons to their middle, so that both pictures are seen.
_HALF = """() => {
    for (const slider of document.querySelectorAll(".local-control-comparison input")) {
        slider.value = 50;
        slider.dispatchEvent(new Event("input"));
    }
}"""

# Adds a node to a template: [type, [x, y], {input: [type of the source, its output, which]}],
# which being the title of the source, or how many of its type stand before it.
_ADD = """([type, pos, inputs]) => {
    const { graph } = window.app;
    const node = LiteGraph.createNode(type);
    graph.add(node);
    node.pos = pos;
    for (const [name, [source, output, which]] of Object.entries(inputs)) {
        const all = graph._nodes.filter((n) => n.type === source);
        const from = all[which ?? 0] ?? all.find((n) => n.title === which);
        const slot = node.inputs.findIndex((input) => input.name === name);
        from.connect(from.outputs.findIndex((o) => o.name === output), node, slot);
    }
}"""


@dataclass(frozen=True)
class Shot:
    """What a picture shows: nodes of a template by their types, or all, once it has run.

    added: a node that the template does not have, as _ADD wants it. halved: sliders are in their
    middle.
    """

    template: str
    shown: tuple[str, ...]
    runs: bool = True
    added: tuple | None = None
    scale: float = 1.0
    halved: bool = False


def _own(name, template, **more):
    return {f"LocalControl_{name}": Shot(template, (f"LocalControl_{name}",), **more)}


_WITHOUT_ADAPTER, _WITH_AND_WITHOUT = "05_guide_without_adapter_demo", "06_with_and_without_demo"
_REGION, _WATCH = "02_one_region_demo", "04_watch_and_time_demo"
SHOTS = {
    **_own("LocalControl", "01_one_node_demo"),
    **_own("LoadAdapter", _REGION),
    **_own("Condition", _REGION),
    **_own("Region", _REGION),
    **_own("Apply", _REGION),
    **_own("PreviewRegions", "03_several_regions_demo"),
    **_own("GatePatches", "10_patch_in_a_region_qwen", runs=False),
    **_own("Z0Preview", _WATCH),
    **_own("EdgeGuidance", _WITHOUT_ADAPTER),
    **_own("Score", _WITH_AND_WITHOUT),
    **_own(
        "GatePredictions",
        _REGION,
        runs=False,
        added=(
            (2600, 900),
            {
                "model": ("CheckpointLoaderSimple", "MODEL"),
                "positive": ("LocalControl_Apply", "positive"),
                "negative": ("LocalControl_Apply", "negative"),
                "mask": ("LoadImageMask", "MASK"),
                "positive_without": ("CLIPTextEncode", "CONDITIONING", "Prompt"),
                "negative_without": ("CLIPTextEncode", "CONDITIONING", "Negative prompt"),
            },
        ),
    ),
    **_own(
        "Compare",
        _WITH_AND_WITHOUT,
        halved=True,
        added=(
            (3600, 900),
            {
                "image": ("VAEDecode", "IMAGE"),
                "uncontrolled": ("VAEDecode", "IMAGE", 1),
                "text": ("LocalControl_Score", "text"),
            },
        ),
    ),
    **_own("Z0Frames", _WATCH),
}
_GRAPH = "graph"
_GRAPH_SIZE = (1200, 1200)
_ANIMATION = "z0"


def save(picture, path, **options):
    """Write a WebP of at most MOST_BYTES, as good as that allows."""
    for quality in range(88, _LEAST_QUALITY, -_QUALITY_STEP):
        picture.save(path, quality=quality, method=6, **options)
        if path.stat().st_size <= MOST_BYTES:
            return
    raise ValueError(f"{path.name} takes more than {MOST_BYTES} bytes; show less of the graph.")


def shoot(page, name, shot):
    """Return the picture of what is shown of a template, once it has run if it is to."""
    open_template(page, shot.template)
    if shot.added:
        page.evaluate(_ADD, [name, *shot.added])
    if shot.runs:
        run(page, _RUN_MS)
    ids = page.evaluate(
        """types => window.app.graph._nodes
            .filter(n => !types.length || types.includes(n.type)).map(n => n.id)""",
        list(shot.shown),
    )
    place = [ids, shot.scale, _MARGIN, _CORNER]
    page.evaluate(_SHOW, place)
    if shot.runs:
        wait_for_pictures(page)
    settle(page)
    clip = page.evaluate(_SHOW, place)
    if shot.halved:
        page.evaluate(_HALF)
    page.mouse.move(5, 500)
    settle(page)
    return Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")


def animate(server):
    """Write z0' of every step of the demo as an animation."""
    from demo.example_files import WATCH
    from testbed.workflow import find, to_prompt, viewer_of

    prompt = to_prompt(json.loads(WATCH.read_text()), server.object_info())
    viewer = viewer_of(prompt, [find(prompt, "LocalControl_Z0Frames"), 0])
    frames = [
        Image.open(io.BytesIO(server.image(entry))).convert("RGB").resize((256, 256))
        for entry in server.run(prompt)[viewer]["images"]
    ]
    lasts = [180] * (len(frames) - 1) + [1800]
    first, *others = frames
    path = README / f"{_ANIMATION}.webp"
    save(first, path, save_all=True, append_images=others, duration=lasts, loop=0)


def open_comfy(browser, server):
    """A page with ComfyUI in it, which asks nothing."""
    settings = {
        "Comfy.TutorialCompleted": True,
        "Comfy.Minimap.Visible": False,
        "Comfy.VueNodes.Enabled": False,
        "Comfy.Workflow.ShowMissingModelsWarning": False,
    }
    for setting, value in settings.items():
        requests.post(f"{server.url}/api/settings/{setting}", json=value, timeout=30)
    context = browser.new_context(viewport={"width": 1600, "height": 1500}, device_scale_factor=1.5)
    page = context.new_page()
    page.goto(server.url)
    page.wait_for_function("window.app && window.app.graph && window.app.graph._nodes")
    button(page, "Run").wait_for(timeout=60_000)
    return page


def main(names):
    """Write the pictures of these names, or all."""
    sys.path.insert(0, str(ROOT))
    from demo.base import ADAPTERS, CHECKPOINT
    from demo.example_files import copy_pictures
    from demo.workspace import prepare_demo_workspace
    from testbed.server import ComfyServer

    wanted = names or [*SHOTS, _GRAPH, _ANIMATION]
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    models = {"checkpoints": [CHECKPOINT], "controlnet": list(ADAPTERS.values())}
    with tempfile.TemporaryDirectory() as folder:
        workspace = prepare_demo_workspace(Path(folder), models)
        copy_pictures(workspace / "input")
        with ComfyServer(workspace) as server, sync_playwright() as playwright:
            flags = ["--no-sandbox", "--disable-gpu"]
            browser = playwright.chromium.launch(executable_path=chromium, args=flags)
            page = open_comfy(browser, server)
            for name in wanted:
                print(name, flush=True)
                if name == _ANIMATION:
                    animate(server)
                elif name == _GRAPH:
                    whole = shoot(page, name, Shot("01_one_node_demo", shown=(), scale=0.75))
                    whole.thumbnail(_GRAPH_SIZE, Image.Resampling.LANCZOS)
                    save(whole, README / f"{name}.webp")
                else:
                    save(shoot(page, name, SHOTS[name]), HELP / f"{name}.webp")
            browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
