"""What shared workflows rely on: the last release's nodes, inputs, outputs and defaults are here.

Every change of a schema shows as a change of tests/data/node_schemas.json, which
`python tests/support/schemas.py` writes anew; that a workflow breaks by it is shown by the rest.
"""

import json
from pathlib import Path

import pytest
from schemas import NOW, RELEASE, WIDGETS, describe_nodes, widgets

# Nodes that went, each for a reason that CHANGELOG.md tells.
REMOVED = {"LocalControl_ClosedLoop"}
OLD = {
    name: schema
    for name, schema in json.loads((RELEASE / "node_schemas.json").read_text()).items()
    if name not in REMOVED
}
WORKFLOWS = sorted(path.name for path in RELEASE.glob("*_*.json") if path.name != NOW.name)


@pytest.fixture(scope="module")
def schemas(comfy):
    return describe_nodes(comfy.nodes)


def test_a_change_of_a_schema_is_seen_in_the_snapshot(schemas):
    snapshot = json.loads(NOW.read_text())
    changed = {name for name in schemas | snapshot if schemas.get(name) != snapshot.get(name)}
    assert not changed, "if this is meant, run tests/support/schemas.py and commit what it writes"


@pytest.mark.parametrize("name", OLD)
def test_inputs_of_the_last_release_keep_name_type_and_default(schemas, name):
    inputs = schemas[name]["inputs"]
    for key, old in OLD[name]["inputs"].items():
        new = inputs[key]
        assert new["type"] == old["type"], key
        assert new.get("default") == old.get("default"), key
        assert new.get("min", 0) <= old.get("min", 0), key
        assert new.get("max", 0) >= old.get("max", 0), key
        assert set(old.get("options", ())) <= set(new.get("options", ())), key
        assert new.get("optional", False) or not old.get("optional", False), key


@pytest.mark.parametrize("name", OLD)
def test_new_inputs_can_be_left_out(schemas, name):
    for key in schemas[name]["inputs"].keys() - OLD[name]["inputs"].keys():
        spec = schemas[name]["inputs"][key]
        assert spec.get("optional") or "default" in spec, key


@pytest.mark.parametrize("name", OLD)
def test_widgets_of_the_last_release_come_first_and_in_their_order(schemas, name):
    """Workflows keep the values of widgets as a list without names."""
    before = widgets(OLD[name])
    assert widgets(schemas[name])[: len(before)] == before


@pytest.mark.parametrize("name", OLD)
def test_outputs_of_the_last_release_come_first_and_in_their_order(schemas, name):
    before = OLD[name]["outputs"]
    assert schemas[name]["outputs"][: len(before)] == before
    assert schemas[name]["is_output"] or not OLD[name]["is_output"]


def is_valid(value, spec):
    """Whether a widget takes a value that a workflow has kept."""
    if spec["type"] == "COMBO":
        return isinstance(value, str) and value in spec.get("options", [value])
    if spec["type"] in ("INT", "FLOAT"):
        return spec["min"] <= value <= spec["max"]
    return isinstance(value, {"STRING": str, "BOOLEAN": bool}[spec["type"]])


def test_there_are_workflows_with_all_widgets():
    assert len(WORKFLOWS) == 4
    assert {spec["type"] for node in OLD.values() for spec in node["inputs"].values()} > WIDGETS - {
        "BOOLEAN"
    }


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_workflows_of_the_last_release_still_fit(schemas, workflow):
    graph = json.loads((RELEASE / workflow).read_text())
    ours = {node["id"]: node for node in graph["nodes"] if node["type"] in OLD}
    for node in ours.values():
        schema = schemas[node["type"]]
        for given in node["inputs"]:
            assert schema["inputs"][given["name"]]["type"] == given["type"]
        names = [[given["name"], given["type"]] for given in node["outputs"]]
        assert schema["outputs"][: len(names)] == names
        values = dict(zip(widgets(schema), node["widgets_values"], strict=False))
        for key, value in values.items():
            assert is_valid(value, schema["inputs"][key]), (node["type"], key)
        connected = {given["name"] for given in node["inputs"] if given["link"] is not None}
        for key, spec in schema["inputs"].items():
            assert key in values or key in connected or spec.get("optional") or "default" in spec
    for _, source, slot, _, _, kind in graph["links"]:
        if source in ours:
            assert schemas[ours[source]["type"]]["outputs"][slot][1] == kind


def test_what_went_is_told(schemas):
    assert not REMOVED & schemas.keys()
    told = (Path(__file__).parents[2] / "CHANGELOG.md").read_text()
    assert all(f"`{name}`" in told for name in REMOVED)
