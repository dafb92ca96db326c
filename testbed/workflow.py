"""A saved workflow (the graph that users open) as a prompt (what the server runs)."""

from collections.abc import Iterator
from typing import Any

from .pack import ROOT

EXAMPLES = ROOT / "example_workflows"

_WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}


def to_prompt(workflow: dict[str, Any], object_info: dict[str, Any]) -> dict[str, Any]:
    """Return a saved workflow as a prompt, as the frontend makes it; notes are left out."""
    links = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        if node["type"] not in object_info:
            continue
        inputs = _widget_inputs(node, object_info[node["type"]])
        for slot in node.get("inputs", []):
            if slot.get("link") is not None:
                inputs[slot["name"]] = links[slot["link"]]
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt


def _widget_inputs(node: dict[str, Any], info: dict[str, Any]) -> dict[str, Any]:
    """Return widget values by name: they are saved as a list in the order of the schema."""
    values = iter(node.get("widgets_values", []))
    found = {}
    for name, spec in inputs_of(info):
        if not is_widget(spec):
            continue
        value = next(values, None)
        if value is None:
            break  # saved before the node had this widget; its default holds
        found[name] = value
        if has_seed_control(spec):
            next(values, None)
    return found


def inputs_of(info: dict[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    """Yield the inputs of a node in the order of its schema, each as name and specification."""
    for group in ("required", "optional"):
        for name in info["input_order"].get(group, []):
            yield name, info["input"][group][name]


def is_widget(spec: list[Any]) -> bool:
    """Return whether an input is set on the node itself; the others are sockets alone."""
    return isinstance(spec[0], list) or spec[0] in _WIDGET_TYPES


def has_seed_control(spec: list[Any]) -> bool:
    """Return whether the frontend adds a widget behind it: what becomes of a seed after a run."""
    return len(spec) > 1 and bool(spec[1].get("control_after_generate"))


def is_upload(spec: list[Any]) -> bool:
    """Return whether the frontend adds a button for uploads, as the last widget of the node."""
    return len(spec) > 1 and bool(spec[1].get("image_upload"))


def find(prompt: dict[str, Any], class_type: str) -> str:
    """Return the id of the only node of a class."""
    (key,) = (key for key, node in prompt.items() if node["class_type"] == class_type)
    return key


def viewer_of(prompt: dict[str, Any], output: list[Any]) -> str:
    """Return the id of the only Preview Image that shows an output, a list of node id and slot."""
    (key,) = (
        key
        for key, node in prompt.items()
        if node["class_type"] == "PreviewImage" and node["inputs"]["images"] == output
    )
    return key
