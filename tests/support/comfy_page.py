"""What a person does in ComfyUI's page, as functions of a Playwright page."""

import itertools
import re

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
    page.wait_for_timeout(1000)


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


def run(page):
    """Press Run, and return the ids of the nodes that showed live pictures; fail with an error."""
    page.evaluate(
        """() => {
            window.seen = {previews: new Set(), done: false, error: null};
            if (window.listening) return;
            window.listening = true;
            const { api } = window.app;
            api.addEventListener("b_preview_with_metadata",
                e => window.seen.previews.add(String(e.detail.displayNodeId ?? e.detail.nodeId)));
            api.addEventListener("execution_success", () => { window.seen.done = true; });
            api.addEventListener("execution_error",
                e => { window.seen.error = e.detail.exception_message; });
        }"""
    )
    button(page, "Run").click()
    page.wait_for_function("window.seen.done || window.seen.error", timeout=RUN_MS)
    assert page.evaluate("window.seen.error") is None
    page.wait_for_timeout(1000)  # for the pictures to arrive
    return page.evaluate("[...window.seen.previews]")


def node_id(page, node_type):
    """The id of the only node of a type."""
    (found,) = page.evaluate(
        "(type) => window.app.graph._nodes.filter(n => n.type === type).map(n => String(n.id))",
        node_type,
    )
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
