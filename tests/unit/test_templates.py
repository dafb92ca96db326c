"""The shipped workflows open right: nothing is hidden, everything has its name and its place."""

import itertools
import json

import pytest

from demo.example_files import DEMO_EXAMPLES
from demo.templates.listing import TEMPLATES
from demo.templates.sizes import TITLE
from demo.templates.wires import Box, crosses, slot_height
from testbed.workflow import EXAMPLES

LEAST_GAP = 40
FILES = {
    template.name: (DEMO_EXAMPLES if template.kit.suffix == "demo" else EXAMPLES)
    / f"{template.name}.json"
    for template in TEMPLATES
}
LOADERS = {
    "CheckpointLoaderSimple",
    "CLIPLoader",
    "ControlNetLoader",
    "LocalControl_LoadAdapter",
    "LocalControl_LocalControl",
    "ModelPatchLoader",
    "UNETLoader",
    "VAELoader",
}


@pytest.fixture(params=FILES, ids=str)
def workflow(request):
    return json.loads(FILES[request.param].read_text())


def box_of(node):
    (left, top), (width, height) = node["pos"], node["size"]
    return Box(left, top - TITLE, width, height + TITLE)


def gap(a, b):
    """Between two boxes, along the axis on which they are further apart; negative: they overlap."""
    beside = max(b.left - a.right, a.left - b.right)
    below = max(b.top - a.bottom, a.top - b.bottom)
    return max(beside, below)


def test_every_template_has_a_file_and_a_picture_and_no_file_is_left_over():
    found = {*DEMO_EXAMPLES.glob("*.json"), *EXAMPLES.glob("*.json")}
    assert found == set(FILES.values())
    assert all(path.with_suffix(".jpg").is_file() for path in found)


def test_live_pictures_are_decoded(workflow):
    for node in workflow["nodes"]:
        if node["type"] == "LocalControl_Z0Preview":
            (vae,) = (slot for slot in node["inputs"] if slot["name"] == "vae")
            assert vae["link"] is not None


def test_no_node_is_nearer_to_another_than_40_px(workflow):
    for a, b in itertools.combinations(workflow["nodes"], 2):
        assert gap(box_of(a), box_of(b)) >= LEAST_GAP, (a["type"], b["type"])


def test_every_node_lies_in_one_group_with_a_number_and_a_colour(workflow):
    groups = workflow["groups"]
    assert [group["title"].split()[0] for group in groups] == [
        str(i + 1) for i in range(len(groups))
    ]
    assert all(group["color"] for group in groups)
    frames = [Box(*group["bounding"]) for group in groups]
    for node in workflow["nodes"]:
        box = box_of(node)
        around = [
            frame
            for frame in frames
            if frame.left <= box.left
            and box.right <= frame.right
            and frame.top <= box.top
            and box.bottom <= frame.bottom
        ]
        assert len(around) == 1, node["type"]


def corners(workflow, number):
    """The places of the reroutes that lead a wire, in their order."""
    reroutes = {reroute["id"]: reroute for reroute in workflow["extra"]["reroutes"]}
    led = {entry["id"]: entry["parentId"] for entry in workflow["extra"]["linkExtensions"]}
    found, at = [], led.get(number)
    while at is not None:
        found.insert(0, tuple(reroutes[at]["pos"]))
        at = reroutes[at].get("parentId")
    return found


def test_no_wire_runs_behind_a_node(workflow):
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for number, source, output, target, slot, _ in workflow["links"]:
        a, b = box_of(nodes[source]), box_of(nodes[target])
        start, end = (a.right, slot_height(a, output)), (b.left, slot_height(b, slot))
        parts = itertools.pairwise([start, *corners(workflow, number), end])
        for (begin, stop), other in itertools.product(list(parts), workflow["nodes"]):
            if other["id"] not in (source, target):
                assert not crosses(begin, stop, box_of(other)), (number, other["type"])


def test_every_node_names_its_pack_and_every_loader_its_public_file(workflow):
    is_demo = "demo" in json.dumps([node["widgets_values"] for node in workflow["nodes"]])
    for node in workflow["nodes"]:
        if node["type"] == "MarkdownNote":
            continue
        properties = node["properties"]
        is_ours = node["type"].startswith("LocalControl_")
        assert properties["cnr_id"] == ("local-control" if is_ours else "comfy-core")
        assert not is_ours or properties["ver"]
        if node["type"] in LOADERS and not is_demo:
            (file,) = properties["models"]
            assert file["name"] in node["widgets_values"]
            assert file["url"].startswith("https://huggingface.co/")
            assert file["url"].endswith(file["name"])
            assert file["directory"]


def test_a_template_says_what_it_does_and_is_seen_when_it_is_opened(workflow):
    assert any(node["type"] == "MarkdownNote" for node in workflow["nodes"])
    assert workflow["id"]
    view = workflow["extra"]["ds"]
    left = min(node["pos"][0] for node in workflow["nodes"])
    top = min(node["pos"][1] for node in workflow["nodes"])
    assert 0 < (left + view["offset"][0]) * view["scale"] < 400
    assert 0 < (top + view["offset"][1]) * view["scale"] < 400
