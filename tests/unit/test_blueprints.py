"""The blueprint that the node library offers: a whole graph in one node."""

import json

import pytest

from demo.templates.blueprints import BLUEPRINTS, CONTROL_A_REGION

ENTRY, EXIT = -10, -20


@pytest.fixture(scope="module")
def blueprint():
    (path,) = BLUEPRINTS.glob("*.json")
    assert path.stem == CONTROL_A_REGION
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def inside(blueprint):
    (definition,) = blueprint["definitions"]["subgraphs"]
    return definition


def test_it_is_one_node_with_the_ends_of_its_graph(blueprint, inside):
    (node,) = blueprint["nodes"]
    assert node["type"] == inside["id"]
    for side in ("inputs", "outputs"):
        assert [(end["name"], end["type"]) for end in node[side]] == [
            (end["name"], end["type"]) for end in inside[side]
        ]
    assert inside["description"]


def test_its_widgets_have_values_inside_and_outside(blueprint, inside):
    (node,) = blueprint["nodes"]
    names = [name for _, name in node["properties"]["proxyWidgets"]]
    assert names == [end["name"] for end in node["inputs"] if "widget" in end]
    outside = dict(zip(names, node["widgets_values"], strict=True))
    assert outside["adapter_name"].endswith(".safetensors")
    for name, value in outside.items():
        assert any(value in other["widgets_values"] for other in inside["nodes"]), name


def test_every_link_leads_from_an_output_to_an_input_of_its_type(inside):
    nodes = {node["id"]: node for node in inside["nodes"]}
    for link in inside["links"]:
        source, target = link["origin_id"], link["target_id"]
        outputs = inside["inputs"] if source == ENTRY else nodes[source]["outputs"]
        inputs = inside["outputs"] if target == EXIT else nodes[target]["inputs"]
        start, end = outputs[link["origin_slot"]], inputs[link["target_slot"]]
        assert start["type"] == end["type"] == link["type"]
        assert link["id"] in start["linkIds" if source == ENTRY else "links"]
        assert end["link"] == link["id"] if target != EXIT else link["id"] in end["linkIds"]


def test_no_end_of_the_graph_is_loose(inside):
    assert all(end["linkIds"] for end in (*inside["inputs"], *inside["outputs"]))


def test_it_names_the_public_file_that_it_needs(inside):
    (loader,) = (n for n in inside["nodes"] if n["type"] == "LocalControl_LoadAdapter")
    (file,) = loader["properties"]["models"]
    assert [file["name"]] == loader["widgets_values"]
