"""A saved workflow (the graph that users open) as a prompt (what the server runs)."""

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
    for group in ("required", "optional"):
        for name in info["input_order"].get(group, []):
            spec = info["input"][group][name]
            kind, options = spec[0], spec[1] if len(spec) > 1 else {}
            if not isinstance(kind, list) and kind not in _WIDGET_TYPES:
                continue
            value = next(values, None)
            if value is None:
                break  # saved before the node had this widget; its default holds
            found[name] = value
            if options.get("control_after_generate") or options.get("image_upload"):
                next(values, None)  # a widget of the frontend's own
    return found


def find(prompt: dict[str, Any], class_type: str) -> str:
    """Return the id of the only node of a class."""
    (key,) = (key for key, node in prompt.items() if node["class_type"] == class_type)
    return key
