"""The blueprint "Control a region": found by search, connected, run."""

import pytest
from comfy_page import RENDERERS, add_node, open_template, run, set_widget

from demo.templates.blueprints import CONTROL_A_REGION

# Takes the place of the template's own region: the same picture, mask and prompts, to the sampler.
CONNECT = """(id) => {
    const { graph } = window.app;
    const one = (type, title) => graph._nodes.find(
        (node) => node.type === type && (!title || node.title === title));
    const join = (source, output, target, input) => source.connect(
        source.outputs.findIndex((slot) => slot.name === output), target,
        target.inputs.findIndex((slot) => slot.name === input));
    const blueprint = graph.getNodeById(id);
    const sampler = one("KSampler");
    join(one("CLIPTextEncode", "Prompt"), "CONDITIONING", blueprint, "positive");
    join(one("CLIPTextEncode", "Negative prompt"), "CONDITIONING", blueprint, "negative");
    join(one("LoadImage"), "IMAGE", blueprint, "image");
    join(one("LoadImageMask"), "MASK", blueprint, "mask");
    join(blueprint, "positive", sampler, "positive");
    join(blueprint, "negative", sampler, "negative");
    join(blueprint, "regions", one("LocalControl_Z0Preview"), "regions");
    for (const type of ["Apply", "Region", "Condition", "LoadAdapter"]) {
        graph.remove(one(`LocalControl_${type}`));
    }
    for (const [name, value] of [["adapter_name", "local_canny_demo.safetensors"],
        ["strength", 1.5]]) {
        const widget = blueprint.widgets.find((widget) => widget.name === name);
        widget.value = value;
    }
}"""


@pytest.mark.parametrize("renderer", RENDERERS)
def test_the_blueprint_controls_a_region_of_a_graph(open_page, screenshots, renderer):
    page = open_page(renderer)
    open_template(page, "02_one_region_demo")
    node = add_node(page, CONTROL_A_REGION, CONTROL_A_REGION, (500, 950))
    page.evaluate(CONNECT, node)
    inner = page.evaluate(
        """(id) => window.app.graph.getNodeById(id).subgraph.nodes.map(
            (inner) => [inner.type, Boolean(LiteGraph.registered_node_types[inner.type])])""",
        node,
    )
    assert len(inner) == 4
    assert all(known for _, known in inner)
    set_widget(page, "KSampler", "steps", 2)
    set_widget(page, "KSampler", "seed", 40 + RENDERERS.index(renderer))
    run(page)
    page.screenshot(path=screenshots / f"blueprint_{renderer}.png")
    prompt = page.evaluate("async () => (await window.app.graphToPrompt()).output")
    region = next(n for n in prompt.values() if n["class_type"] == "LocalControl_Region")
    assert region["inputs"]["strength"] == 1.5
