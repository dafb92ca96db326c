"""A mask that is painted in ComfyUI's mask editor."""

import io

import numpy as np
import pytest
import requests
from comfy_page import button, open_template, picture_of, run, set_widget
from PIL import Image
from playwright.sync_api import TimeoutError as TooLate

PICTURE = "window.app.graph._nodes.find(n => n.type === 'LoadImage')"
CANVASES = "#maskEditorCanvasContainer canvas"
MASK = 2  # the canvas that is painted on; the first one has the picture
# Whether a canvas has something in its middle.
IS_DRAWN = f"""(index) => {{
    const canvas = document.querySelectorAll("{CANVASES}")[index];
    if (!canvas?.width) return false;
    const middle = [canvas.width >> 1, canvas.height >> 1];
    return canvas.getContext("2d").getImageData(...middle, 1, 1).data[3] > 0;
}}"""
SAVED = f"() => {PICTURE}.widgets.find(w => w.name === 'image').value"


def test_what_is_painted_in_the_mask_editor_is_what_is_controlled(server, page, screenshots):
    open_template(page, "01_one_node_demo")
    assert picture_of(page, "LoadImage")
    before = page.evaluate(SAVED)
    open_mask_editor(page)
    paint_across(page)
    page.screenshot(path=screenshots / "mask_editor.png")
    button(page, "Save").click()
    page.wait_for_function(f"before => ({SAVED})() !== before", arg=before)
    white = painted(server, page.evaluate(SAVED))
    height, width = white.shape
    assert white[height // 2, width // 2]
    assert not white[[0, -1]].any()
    page.evaluate(
        f"""() => {{
            const node = window.app.graph._nodes.find(
                n => n.type === "LocalControl_LocalControl");
            const slot = node.inputs.findIndex(i => i.name === "mask");
            {PICTURE}.connect(1, node, slot);
        }}"""
    )
    set_widget(page, "LocalControl_LocalControl", "steps", 1)
    run(page)


def open_mask_editor(page):
    """Open it on the picture, by its command, and wait until it can be painted in."""
    page.evaluate(
        f"""async () => {{
            window.app.canvas.select({PICTURE});
            await window.app.extensionManager.command.execute("Comfy.MaskEditor.OpenMaskEditor");
        }}"""
    )
    page.wait_for_function(IS_DRAWN, arg=0)


def paint_across(page):
    """Draw a level stroke through the middle of the picture, as soon as the editor takes it."""
    for _ in range(10):
        box = page.locator(CANVASES).first.bounding_box()
        y = box["y"] + box["height"] / 2
        left, right = (box["x"] + box["width"] * share for share in (0.4, 0.6))
        page.mouse.move(left, y)
        page.mouse.down()
        page.mouse.move(right, y, steps=10)
        page.mouse.up()
        try:
            page.wait_for_function(IS_DRAWN, arg=MASK, timeout=3000)
        except TooLate:
            continue
        return
    pytest.fail("the mask editor took no stroke")


def painted(server, name):
    """The mask [H,W] that Load Image makes of a picture: white where its alpha is away."""
    folder, _, rest = name.removesuffix(" [input]").rpartition("/")
    query = {"filename": rest, "subfolder": folder, "type": "input"}
    answer = requests.get(f"{server.url}/view", params=query, timeout=30)
    return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGBA"))[..., 3] < 128
