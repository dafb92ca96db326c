"""A graph that a person builds: nodes found by search, wires dragged with the mouse."""

import pytest
from comfy_page import RENDERERS, add_node, drag_wire, empty_canvas, search_node, wires

# What a person may look for, the node that it is meant to find, and where that is put.
WANTED = {
    "LocalControl_LoadAdapter": ("t2i adapter", "Load Local Adapter", (500, 250)),
    "LocalControl_Condition": ("sobel", "Local Control Condition", (500, 550)),
    "LocalControl_Region": ("controlnet mask", "Local Control Region", (950, 250)),
    "LocalControl_Apply": ("regional control", "Apply Local Control", (1400, 250)),
}


def words_for(server, node_id):
    """Its alias where this ComfyUI searches by such, else its title."""
    alias, title, at = WANTED[node_id]
    info = server.get(f"/object_info/{node_id}").json()[node_id]
    return (alias if info.get("search_aliases") else title), title, at


@pytest.mark.parametrize("renderer", RENDERERS)
def test_nodes_are_found_by_search_and_connected_with_the_mouse(
    server, open_page, screenshots, renderer
):
    page = open_page(renderer)
    empty_canvas(page)
    adapter, condition, region, apply = (
        add_node(page, *words_for(server, node_id)) for node_id in WANTED
    )
    drag_wire(page, adapter, "control_net", region, "control_net")
    drag_wire(page, condition, "condition", region, "image")
    drag_wire(page, region, "regions", apply, "regions")
    page.screenshot(path=screenshots / f"built_{renderer}.png")
    assert wires(page) == {
        ("LocalControl_LoadAdapter", "control_net", "LocalControl_Region", "control_net"),
        ("LocalControl_Condition", "condition", "LocalControl_Region", "image"),
        ("LocalControl_Region", "regions", "LocalControl_Apply", "regions"),
    }


def test_the_search_lists_all_our_nodes(page):
    empty_canvas(page)
    found = search_node(page, "local control", (700, 400))
    for _, title, _ in WANTED.values():
        found.filter(has=page.get_by_text(title, exact=True)).first.wait_for()
