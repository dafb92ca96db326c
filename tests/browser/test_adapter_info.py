"""What an adapter's file says of itself, on its node and on a condition that follows it."""

import pytest
from comfy_page import RENDERERS, add_node, empty_canvas, open_template, run, set_widget, settle

LOADER, CONDITION = "LocalControl_LoadAdapter", "LocalControl_Condition"


@pytest.fixture(params=RENDERERS)
def opened(open_page, request):
    page = open_page(request.param)
    open_template(page, "02_one_region_demo")
    return page


def connect(page):
    """Give the condition the adapter."""
    page.evaluate(
        """([loader, condition]) => {
            const find = (type) => window.app.graph._nodes.find((n) => n.type === type);
            const target = find(condition);
            const slot = target.inputs.findIndex((i) => i.name === "control_net");
            find(loader).connect(0, target, slot);
        }""",
        [LOADER, CONDITION],
    )


def values(page):
    """The widgets of the condition, by name."""
    return page.evaluate(
        """(type) => Object.fromEntries(window.app.graph._nodes.find((n) => n.type === type)
            .widgets.map((w) => [w.name, w.value]))""",
        CONDITION,
    )


def test_an_adapter_says_what_it_is_as_soon_as_it_is_chosen(opened):
    told = opened.locator(".local-control-adapter")
    assert "condition: canny 100 200" in told.inner_text()
    set_widget(opened, LOADER, "adapter_name", "local_colour_demo.safetensors")
    assert "condition: colour 8" in told.inner_text()
    set_widget(opened, LOADER, "adapter_name", "text.safetensors")
    assert "nothing that is known" in told.inner_text()


def test_a_new_node_has_room_for_all_of_it(opened):
    empty_canvas(opened)
    node = add_node(opened, "Load Local Adapter", "Load Local Adapter", (700, 300))
    words = opened.locator(".local-control-adapter")
    words.get_by_text("condition: canny 100 200").wait_for()
    settle(opened)
    assert words.evaluate("e => e.scrollHeight - e.clientHeight") <= 1
    below = opened.evaluate(
        """(id) => {
            const drawn = document.querySelector(`[data-node-id='${id}']`);
            if (drawn) return drawn.getBoundingClientRect().bottom;
            const { canvas, graph } = window.app;
            const { pos, size } = graph.getNodeById(id);
            const { top } = canvas.canvas.getBoundingClientRect();
            return top + canvas.ds.convertOffsetToCanvas([pos[0], pos[1] + size[1]])[1];
        }""",
        node,
    )
    box = words.bounding_box()
    assert box["y"] + box["height"] <= below


def test_local_adapters_are_listed_first(opened):
    listed = opened.evaluate(
        """(type) => window.app.graph._nodes.find((n) => n.type === type)
            .widgets.find((w) => w.name === "adapter_name").options.values""",
        LOADER,
    )
    assert listed[:2] == ["local_canny_demo.safetensors", "local_colour_demo.safetensors"]


def test_a_connected_condition_follows_the_adapter_and_cannot_be_set_otherwise(opened):
    assert values(opened)["low_threshold"] == 150
    connect(opened)
    assert values(opened)["low_threshold"] == 100
    set_widget(opened, CONDITION, "kind", "sobel")
    assert values(opened)["kind"] == "canny"
    set_widget(opened, LOADER, "adapter_name", "local_colour_demo.safetensors")
    found = values(opened)
    assert (found["kind"], found["blocks"]) == ("colour", 8)
    set_widget(opened, "KSampler", "steps", 1)
    run(opened)


def test_a_condition_that_is_connected_to_none_keeps_its_values_when_it_is_opened(opened):
    before = values(opened)
    set_widget(opened, LOADER, "adapter_name", "local_colour_demo.safetensors")
    assert values(opened) == before
