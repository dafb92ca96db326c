"""The schemas of our nodes as plain data: what shared workflows rely on, and nothing else.

python tests/support/schemas.py    # writes tests/data/node_schemas.json anew, after a change
"""

import json
import sys
import tempfile
from pathlib import Path

DATA = Path(__file__).parents[1] / "data"
NOW = DATA / "node_schemas.json"
RELEASE = DATA / "release_0.1.0"
_PREFIX = "LocalControl_"
_LIMITS = ("default", "min", "max", "step", "multiline")
# Whose options are not ours: what lies in a folder, and what this ComfyUI samples with.
_OF_OTHERS = {"adapter_name", "sampler_name", "scheduler"}
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}


def describe_nodes(nodes):
    """Return the schema of each of our nodes by its id."""
    return {name: _describe(node) for name, node in nodes.items() if name.startswith(_PREFIX)}


def _describe(node):
    info = node.GET_NODE_INFO_V1()
    inputs = {
        name: _input(name, *spec, is_optional=group == "optional")
        for group in ("required", "optional")
        for name, spec in info["input"].get(group, {}).items()
    }
    return {
        "inputs": inputs,
        "hidden": sorted(info["input"].get("hidden", {})),
        "outputs": [list(pair) for pair in zip(info["output_name"], info["output"], strict=True)],
        "is_output": info["output_node"],
    }


def _input(name, kind, options=None, is_optional=False):
    options = options or {}
    if isinstance(kind, list):  # as older versions write combos
        kind, options = "COMBO", {**options, "options": kind}
    found = {"type": kind} | {key: options[key] for key in _LIMITS if key in options}
    if kind == "COMBO" and name not in _OF_OTHERS:
        found["options"] = [str(option) for option in options["options"]]
    if is_optional:
        found["optional"] = True
    return found


def widgets(schema):
    """Return the names of a node's widgets in the order in which workflows keep their values."""
    return [name for name, spec in schema["inputs"].items() if spec["type"] in WIDGETS]


def main():
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from demo.workspace import prepare_demo_workspace
    from testbed.inprocess import load_comfy

    with tempfile.TemporaryDirectory() as folder:
        comfy = load_comfy(prepare_demo_workspace(Path(folder), {}))
        NOW.write_text(json.dumps(describe_nodes(comfy.nodes), indent=1) + "\n")


if __name__ == "__main__":
    main()
