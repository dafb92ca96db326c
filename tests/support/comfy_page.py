"""What a person does in ComfyUI's page, as functions of a Playwright page."""

import itertools
import re

from playwright.sync_api import TimeoutError as TooLate

RENDERERS = ("classic", "nodes2")
RUN_MS = 180_000

# A node's box with its title, as it is drawn; Nodes 2.0 knows it from the document alone.
_BOXES = """() => {
    const scale = window.app.canvas.ds.scale;
    return window.app.graph._nodes.map((node) => {
        const drawn = document.querySelector(`[data-node-id='${node.id}']`);
        const { width, height } = drawn
            ? drawn.getBoundingClientRect()
            : { width: scale * node.size[0], height: scale * (node.size[1] + 30) };
        const [x, y] = node.pos;
        return [`${node.id} ${node.title}`, x, y - 30, width / scale, height / scale];
    });
}"""


# Where a slot's dot is on the screen.
_SLOT = """([id, direction, slot]) => {
    const { graph, canvas } = window.app;
    const drawn = document.querySelector(`[data-slot-key='${id}-${direction}-${slot}']`);
    if (drawn) {
        const { left, top, width, height } = drawn.getBoundingClientRect();
        return [left + width / 2, top + height / 2];
    }
    const node = graph.getNodeById(id);
    const [x, y] = canvas.ds.convertOffsetToCanvas(node.getConnectionPos(direction === "in", slot));
    const { left, top } = canvas.canvas.getBoundingClientRect();
    return [left + x, top + y];
}"""

# The address of the picture that a node shows, once it is loaded.
_PICTURE = """(id) => {
    const drawn = document.querySelector(`[data-node-id='${id}']`);
    const all = drawn ? drawn.querySelectorAll("img") : window.app.graph.getNodeById(id).imgs;
    return [...(all ?? [])].find((image) => image.naturalWidth > 0)?.src;
}"""

# Whether all that nodes have said to show is there; classic nodes load it once they are in view.
_SHOWN = f"""() => [...window.seen.pictures].every((id) => {{
    const {{ graph, canvas }} = window.app;
    const node = graph.getNodeById(id);
    if (!node || node.hideOutputImages) return true;
    const isDrawn = document.querySelector(`[data-node-id='${{id}}']`);
    return (!isDrawn && !canvas.visible_nodes.includes(node)) || ({_PICTURE})(id);
}})"""

# Until nodes have had the same places and sizes for so many frames.
_SETTLE = f"""async (frames) => {{
    const boxes = {_BOXES};
    let before = "";
    for (let same = 0; same < frames; ) {{
        await new Promise(requestAnimationFrame);
        const now = JSON.stringify(boxes());
        same = now === before ? same + 1 : 0;
        before = now;
    }}
}}"""


def settle(page):
    """Wait until nodes keep their places and sizes."""
    page.evaluate(_SETTLE, 15)


def wait_for_pictures(page):
    """Wait until what the latest run has made is shown by all nodes in view."""
    page.wait_for_function(_SHOWN, timeout=60_000)
    settle(page)


def button(page, words):
    """The button in sight that reads `words`: what else is labelled so differs by frontend."""
    reading = page.locator("button", has_text=re.compile(rf"^\s*{words}\s*$"))
    return reading.filter(visible=True)


def open_template(page, name):
    """Load a template as the template browser does, and wait until it is drawn."""
    page.evaluate(
        """async (name) => {
            const url = `/api/workflow_templates/local_control/${name}.json`;
            await window.app.loadGraphData(await (await fetch(url)).json());
        }""",
        name,
    )
    page.wait_for_function("window.app.graph._nodes.length > 0")
    settle(page)


def empty_canvas(page):
    """Take away what is open."""
    page.evaluate("window.app.graph.clear()")
    settle(page)


def search_node(page, words, at):
    """Open the search of nodes by a double click, write words, and return what it finds."""
    field = page.locator("input[role=combobox]:focus")
    for _ in range(10):  # a page that has just been opened does not hear the first ones
        page.mouse.dblclick(*at)
        try:
            field.wait_for(timeout=3000)
            break
        except TooLate:
            continue
    page.keyboard.type(words)
    return page.locator("[role=option]")


def add_node(page, words, title, at):
    """Search a node, choose it by its title, put it where the search was opened; return its id."""
    before = page.evaluate("window.app.graph._nodes.length")
    found = search_node(page, words, at).filter(has=page.get_by_text(title, exact=True))
    found.first.click()
    page.wait_for_function("before => window.app.graph._nodes.length > before", arg=before)
    if page.evaluate("window.app.graph._nodes.at(-1).flags?.ghost"):  # it follows the mouse
        page.mouse.move(*at)
        settle(page)
        page.mouse.click(*at)
        page.wait_for_function("!window.app.graph._nodes.at(-1).flags?.ghost")
    settle(page)
    return page.evaluate("window.app.graph._nodes.at(-1).id")


def select_node(page, node):
    """Click on a node's title."""
    place = page.evaluate(
        """(id) => {
            const { canvas, graph } = window.app;
            const { pos } = graph.getNodeById(id);
            const [x, y] = canvas.ds.convertOffsetToCanvas([pos[0] + 80, pos[1] - 15]);
            const { left, top } = canvas.canvas.getBoundingClientRect();
            return [left + x, top + y];
        }""",
        node,
    )
    page.mouse.click(*place)
    settle(page)


def drag_wire(page, source, output, target, given):
    """Drag from an output to an input, both by their names, of nodes by their ids."""
    slots = page.evaluate(
        """([source, output, target, given]) => {
            const node = (id) => window.app.graph.getNodeById(id);
            return [
                node(source).outputs.findIndex((slot) => slot.name === output),
                node(target).inputs.findIndex((slot) => slot.name === given),
            ];
        }""",
        [source, output, target, given],
    )
    page.mouse.move(*page.evaluate(_SLOT, [source, "out", slots[0]]))
    page.mouse.down()
    page.mouse.move(*page.evaluate(_SLOT, [target, "in", slots[1]]), steps=10)
    page.mouse.up()
    settle(page)


def wires(page):
    """The wires as (type of source, output, type of target, input), by names."""
    found = page.evaluate(
        """() => window.app.graph._nodes.flatMap((node) => node.inputs
            .filter((slot) => slot.link != null)
            .map((slot) => {
                const { graph } = window.app;
                const link = graph.getLink?.(slot.link) ?? graph.links[slot.link];
                const source = graph.getNodeById(link.origin_id);
                return [source.type, source.outputs[link.origin_slot].name, node.type, slot.name];
            }))"""
    )
    return {tuple(wire) for wire in found}


def set_widget(page, node_type, name, value):
    """Set a widget of all nodes of a type."""
    page.evaluate(
        """([type, name, value]) => {
            for (const node of window.app.graph._nodes.filter((n) => n.type === type)) {
                const widget = node.widgets.find((w) => w.name === name);
                widget.value = value;
                widget.callback?.(value);
            }
        }""",
        [node_type, name, value],
    )


def run(page, timeout=RUN_MS):
    """Press Run, and return the ids of the nodes that showed live pictures; fail with an error."""
    page.evaluate(
        """() => {
            const none = () => new Set();
            window.seen = {previews: none(), pictures: none(), done: false, error: null};
            if (window.listening) return;
            window.listening = true;
            const { api } = window.app;
            api.addEventListener("b_preview_with_metadata",
                e => window.seen.previews.add(String(e.detail.displayNodeId ?? e.detail.nodeId)));
            api.addEventListener("executed", ({ detail }) => {
                if (detail.output?.images?.length) {
                    window.seen.pictures.add(String(detail.display_node ?? detail.node));
                }
            });
            api.addEventListener("execution_success", () => { window.seen.done = true; });
            api.addEventListener("execution_error",
                e => { window.seen.error = e.detail.exception_message; });
        }"""
    )
    button(page, "Run").click()
    page.wait_for_function("window.seen.done || window.seen.error", timeout=timeout)
    assert page.evaluate("window.seen.error") is None
    wait_for_pictures(page)
    return page.evaluate("[...window.seen.previews]")


def node_id(page, node_type):
    """The id of the only node of a type."""
    (found,) = page.evaluate(
        "(type) => window.app.graph._nodes.filter(n => n.type === type).map(n => String(n.id))",
        node_type,
    )
    return found


def picture_of(page, node_type):
    """The address of what the only node of a type shows; waits until it is there."""
    found = page.wait_for_function(_PICTURE, arg=node_id(page, node_type), timeout=60_000)
    return found.json_value()


def reaching_out(page):
    """Nodes that are drawn beyond the border of the group that their title is in, and how far."""
    groups = page.evaluate("window.app.graph._groups.map((g) => [...g.pos, ...g.size])")
    found = []
    for name, x, y, width, height in page.evaluate(_BOXES):
        for left, top, wide, high in groups:
            if left <= x < left + wide and top <= y < top + high:
                beyond = max(x + width - (left + wide), y + height - (top + high))
                if beyond > 0:
                    found.append((name, round(beyond)))
    return found


def crowded(page, least):
    """Pairs of nodes that are nearer to each other than `least` pixels, or overlap."""
    found = []
    for (a, ax, ay, aw, ah), (b, bx, by, bw, bh) in itertools.combinations(
        page.evaluate(_BOXES), 2
    ):
        beside = max(bx - (ax + aw), ax - (bx + bw))
        below = max(by - (ay + ah), ay - (by + bh))
        if max(beside, below) < least:
            found.append((a, b, round(beside), round(below)))
    return found
