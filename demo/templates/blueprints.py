"""Subgraph blueprints: graphs in one node, which ComfyUI's node library offers."""

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from testbed.pack import ROOT

from .canvas import Canvas, Infos, Node, Output
from .kits import SD15
from .wires import Box

BLUEPRINTS = ROOT / "subgraphs"
CONTROL_A_REGION = "Control a region"
_ABOUT = (
    "Lets one region of the image follow the edges or colours of a picture: white in the mask is "
    "controlled. Put it between the prompts and the sampler; chain several for several regions."
)
_SOCKETS = {
    "positive": "CONDITIONING",
    "negative": "CONDITIONING",
    "image": "IMAGE",
    "mask": "MASK",
}
# Widgets that the node has outside, each with its type and its value at first.
_WIDGETS = {
    "adapter_name": ("COMBO", SD15.edges[0]),
    "kind": ("COMBO", "canny"),
    "strength": ("FLOAT", SD15.edges[1]),
    "start_percent": ("FLOAT", 0.0),
    "end_percent": ("FLOAT", 1.0),
    "feather": ("INT", 0),
}
# What the frontend calls the two nodes that stand for what goes in and comes out.
_ENTRY, _EXIT = -10, -20
_ASIDE, _ROW = 240, 20
_SIZE = (340, 320)


def control_a_region(infos: Infos, version: str) -> dict[str, Any]:
    """Return the blueprint of a picture, a mask and an adapter between prompts and sampler."""
    canvas = Canvas(CONTROL_A_REGION, infos, version)
    kinds = _SOCKETS | {name: kind for name, (kind, _) in _WIDGETS.items()}
    given = [{"name": name, "type": kind} for name, kind in kinds.items()]
    ends = Node(_ENTRY, "", None, Box(-_ASIDE, 0, 0, 0), [], given, [], {})
    entry = {name: ends[name] for name in _SOCKETS}
    entry |= {name: replace(ends[name], value=value) for name, (_, value) in _WIDGETS.items()}
    adapter = canvas.add("LocalControl_LoadAdapter", adapter_name=entry["adapter_name"])
    condition = canvas.add(
        "LocalControl_Condition",
        image=entry["image"],
        kind=entry["kind"],
        control_net=adapter["control_net"],
    )
    canvas.next_column()
    region = canvas.add(
        "LocalControl_Region",
        shows=True,
        control_net=adapter["control_net"],
        image=condition["condition"],
        mask=entry["mask"],
        strength=entry["strength"],
        start_percent=entry["start_percent"],
        end_percent=entry["end_percent"],
        feather=entry["feather"],
    )
    canvas.next_column()
    prompts = {name: entry[name] for name in ("positive", "negative")}
    applied = canvas.add("LocalControl_Apply", **prompts, regions=region["regions"])
    results = {name: applied[name] for name in prompts} | {"regions": region["regions"]}
    return _to_json(canvas, kinds, results)


def _to_json(
    canvas: Canvas, kinds: Mapping[str, str], results: Mapping[str, Output]
) -> dict[str, Any]:
    """The file of a blueprint: a workflow of one node, whose definition has the graph."""
    links = _links(canvas, results)
    inside = _identity(canvas.name)
    outer = len(canvas.nodes) + 1
    node = {
        "id": outer,
        "type": inside,
        "pos": [0, 0],
        "size": list(_SIZE),
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [
            {"name": name, "type": kind, "link": None}
            | ({"widget": {"name": name}} if name in _WIDGETS else {})
            for name, kind in kinds.items()
        ],
        "outputs": [{"name": n, "type": out.kind, "links": None} for n, out in results.items()],
        "properties": {
            "proxyWidgets": [["-1", name] for name in _WIDGETS],
            "cnr_id": "local-control",
            "ver": canvas.version,
        },
        "widgets_values": [value for _, value in _WIDGETS.values()],
    }
    return {
        "id": _identity(f"{canvas.name}, file"),
        "revision": 0,
        "last_node_id": outer,
        "last_link_id": 0,
        "nodes": [node],
        "links": [],
        "groups": [],
        "definitions": {"subgraphs": [_definition(canvas, inside, kinds, results, links)]},
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def _definition(
    canvas: Canvas,
    identity: str,
    kinds: Mapping[str, str],
    results: Mapping[str, Output],
    links: list[dict[str, Any]],
) -> dict[str, Any]:
    right = max(node.box.right for node in canvas.nodes)

    def sockets(names: Mapping[str, str], owner: int, side: str, x: int) -> list[dict[str, Any]]:
        return [
            {
                "id": _identity(f"{canvas.name}, {side} {name}"),
                "name": name,
                "type": kind,
                "linkIds": [
                    link["id"]
                    for link in links
                    if link[f"{side}_id"] == owner and link[f"{side}_slot"] == slot
                ],
                "pos": [x, _ROW * (slot + 1)],
            }
            for slot, (name, kind) in enumerate(names.items())
        ]

    given = sockets(kinds, _ENTRY, "origin", -_ASIDE)
    returned = sockets({n: o.kind for n, o in results.items()}, _EXIT, "target", right + _ASIDE)
    return {
        "id": identity,
        "version": 1,
        "state": {
            "lastGroupId": 0,
            "lastNodeId": len(canvas.nodes),
            "lastLinkId": len(links),
            "lastRerouteId": 0,
        },
        "revision": 0,
        "config": {},
        "name": canvas.name,
        "description": _ABOUT,
        "category": "local control",
        "inputNode": {"id": _ENTRY, "bounding": [-_ASIDE, 0, 120, _ROW * (len(given) + 2)]},
        "outputNode": {
            "id": _EXIT,
            "bounding": [right + _ASIDE, 0, 120, _ROW * (len(returned) + 2)],
        },
        "inputs": given,
        "outputs": returned,
        "widgets": [],
        "nodes": [node.to_json(order) for order, node in enumerate(canvas.nodes)],
        "groups": [],
        "links": links,
        "extra": {},
    }


def _links(canvas: Canvas, results: Mapping[str, Output]) -> list[dict[str, Any]]:
    """All links inside, those to and from the two ends among them; the nodes come to know them."""
    links: list[dict[str, Any]] = []

    def link(source: Output, target: int, slot: int) -> int:
        links.append(
            {
                "id": len(links) + 1,
                "origin_id": source.node.id,
                "origin_slot": source.slot,
                "target_id": target,
                "target_slot": slot,
                "type": source.kind,
            }
        )
        if source.node.id != _ENTRY:
            source.node.outputs[source.slot]["links"].append(len(links))
        return len(links)

    for source, node, slot in canvas.links:
        node.inputs[slot]["link"] = link(source, node.id, slot)
    for slot, source in enumerate(results.values()):
        link(source, _EXIT, slot)
    return links


def _identity(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"local-control/{name}"))
