"""A workflow as it is drawn: groups from left to right, in them columns of nodes, and their links.

Nodes are placed in the order in which they are added: below the one before, or on top of the next
column. Nothing overlaps, and gaps are wide enough for every wire to be seen.
"""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from testbed.workflow import has_seed_control, inputs_of, is_upload, is_widget

from .models import file_of
from .sizes import TITLE, body_height, note_height
from .wires import TOP, Box, Route, route

GAP = 50  # between nodes, which must be 40 at least in every way of drawing them
_PADDING = 24  # of a group around its nodes
_HEADING = 44  # of a group above them
_GROUP_GAP = 60
_WIDTH = 310
_NOTE = "MarkdownNote"
_AS_IT_IS = "Vue-corrected"  # no frontend stretches such a workflow to the sizes of its own nodes
_SCREEN = (1640, 780)  # pixels of it that show the canvas
_READABLE = 0.58  # a smaller scale leaves out all words
_BARS = (100, 130)  # pixels left and above that do not

Infos = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Output:
    """One output of a node, to be given to inputs of others; value: of a widget that it sets."""

    node: "Node"
    slot: int
    value: Any = None

    @property
    def kind(self) -> str:
        """Return its type's name."""
        return self.node.outputs[self.slot]["type"]


@dataclass
class Node:
    """A node at its place; `node["MODEL"]` is its output of that name."""

    id: int
    type: str
    title: str | None
    box: Box
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    widgets: list[Any]
    properties: dict[str, Any]

    def __getitem__(self, name: str) -> Output:
        names = [output["name"] for output in self.outputs]
        return Output(self, names.index(name))

    def to_json(self, order: int) -> dict[str, Any]:
        """Return the node as a workflow file has it."""
        saved = {
            "id": self.id,
            "type": self.type,
            "pos": [self.box.left, self.box.top + TITLE],
            "size": [self.box.width, self.box.height - TITLE],
            "flags": {},
            "order": order,
            "mode": 0,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "properties": self.properties,
            "widgets_values": self.widgets,
        }
        return saved if self.title is None else {**saved, "title": self.title}


@dataclass
class Canvas:
    """A workflow in the making. infos: ComfyUI's object_info; version: of this pack."""

    name: str
    infos: Infos
    version: str
    nodes: list[Node] = field(default_factory=list)
    links: list[tuple[Output, Node, int]] = field(default_factory=list)
    groups: list[dict[str, Any]] = field(default_factory=list)
    _x: int = 0
    _y: int = 0
    _right: int = 0

    @contextmanager
    def group(self, title: str, colour: str) -> Iterator[None]:
        """Yield within a frame with a numbered title, around the nodes that are added there."""
        first, left = len(self.nodes), self._x
        self._y, self._right = 0, left
        yield
        bottom = max(node.box.bottom for node in self.nodes[first:])
        self.groups.append(
            {
                "id": len(self.groups) + 1,
                "title": f"{len(self.groups) + 1}  {title}",
                "bounding": [
                    left - _PADDING,
                    -_HEADING,
                    self._right - left + 2 * _PADDING,
                    bottom + _HEADING + _PADDING,
                ],
                "color": colour,
                "font_size": 24,
                "flags": {},
            }
        )
        self._x = self._right + 2 * _PADDING + _GROUP_GAP

    def next_column(self) -> None:
        """Go on at the top of the next column of the group."""
        self._x, self._y = self._right + 2 * GAP, 0

    def note(self, text: str) -> None:
        """A note, beside what it explains."""
        self._place(_NOTE, "Note", (_WIDTH, note_height(text, _WIDTH)), [], [], [text], {})

    def add(
        self,
        node_type: str,
        title: str | None = None,
        /,
        wide: int = _WIDTH,
        shows: bool = False,
        **inputs: Any,
    ) -> Node:
        """Return a node with inputs by name: outputs of others, or values of widgets.

        wide: its width; shows: it has a picture below its widgets once it has run.

        Raises:
            ValueError: the node has no such input.
        """
        info = self.infos[node_type]
        specs = dict(inputs_of(info))
        if unknown := inputs.keys() - specs.keys():
            raise ValueError(
                f"{node_type} has no inputs {sorted(unknown)}; it has {sorted(specs)}."
            )
        sockets = [name for name, spec in specs.items() if not is_widget(spec)]
        sockets += [n for n, s in specs.items() if is_widget(s) and _is_output(inputs.get(n))]
        size = (wide, TITLE + body_height(node_type, info, shows))
        node = self._place(
            node_type,
            title,
            size,
            [_input(name, specs[name]) for name in sockets],
            [
                {"name": name, "type": kind, "links": []}
                for name, kind in zip(info["output_name"], info["output"], strict=True)
            ],
            list(_values(specs, inputs)),
            self._properties(node_type, inputs.values()),
        )
        for slot, name in enumerate(sockets):
            if name in inputs:
                self.links.append((inputs[name], node, slot))
        return node

    def _place(
        self,
        kind: str,
        title: str | None,
        size: tuple[int, int],
        inputs: list,
        outputs: list,
        widgets: list,
        properties: dict,
    ) -> Node:
        box = Box(self._x, self._y, *size)
        number = len(self.nodes) + 1
        node = Node(number, kind, title, box, inputs, outputs, widgets, properties)
        self.nodes.append(node)
        self._y = box.bottom + GAP
        self._right = max(self._right, box.right)
        return node

    def _properties(self, kind: str, values: Any) -> dict[str, Any]:
        """Which pack a node is of, and the public files that it names."""
        is_ours = kind.startswith("LocalControl_")
        pack = {"cnr_id": "local-control" if is_ours else "comfy-core"}
        if is_ours:
            pack["ver"] = self.version
        known = [value.value if _is_output(value) else value for value in values]
        files = [file_of(value) for value in known if isinstance(value, str)]
        models = [file for file in files if file is not None]
        named: dict[str, Any] = {"Node name for S&R": kind, **pack}
        return {**named, "models": models} if models else named

    def to_json(self) -> dict[str, Any]:
        """Return the workflow as its file has it."""
        links, routes = [], []
        boxes = [node.box for node in self.nodes]
        for number, (output, target, slot) in enumerate(self.links, 1):
            links.append([number, output.node.id, output.slot, target.id, slot, output.kind])
            output.node.outputs[output.slot]["links"].append(number)
            target.inputs[slot]["link"] = number
            routes.append(route(output.node.box, output.slot, target.box, slot, boxes))
        reroutes, extensions = _reroutes(routes)
        return {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"local-control/{self.name}")),
            "revision": 0,
            "last_node_id": len(self.nodes),
            "last_link_id": len(links),
            "nodes": [node.to_json(order) for order, node in enumerate(self.nodes)],
            "links": links,
            "groups": self.groups,
            "config": {},
            "extra": {
                "ds": self._view(),
                "workflowRendererVersion": _AS_IT_IS,
                "reroutes": reroutes,
                "linkExtensions": extensions,
            },
            "version": 0.4,
        }

    def _view(self) -> dict[str, Any]:
        """The part of the canvas that is seen first: all of it, if it can be read then."""
        right = max(node.box.right for node in self.nodes) + _PADDING
        bottom = max(node.box.bottom for node in self.nodes) + _PADDING
        fit = min(1.0, _SCREEN[0] / right, _SCREEN[1] / (bottom - TOP))
        scale = round(max(fit, _READABLE), 3)
        return {"scale": scale, "offset": [round(_BARS[0] / scale), round(_BARS[1] / scale) - TOP]}


def _is_output(value: Any) -> bool:
    return isinstance(value, Output)


def _input(name: str, spec: list[Any]) -> dict[str, Any]:
    kind = "COMBO" if isinstance(spec[0], list) else spec[0]
    slot: dict[str, Any] = {"name": name, "type": kind, "link": None}
    return {**slot, "widget": {"name": name}} if is_widget(spec) else slot


def _values(specs: Mapping[str, list[Any]], inputs: Mapping[str, Any]) -> Iterator[Any]:
    """The values of widgets in their order."""
    for name, spec in specs.items():
        if not is_widget(spec):
            continue
        given = inputs.get(name)
        value = given.value if _is_output(given) else given
        yield _default(spec) if value is None else value
        if has_seed_control(spec):
            yield "fixed"
    if any(is_upload(spec) for spec in specs.values()):
        yield "image"


def _default(spec: list[Any]) -> Any:
    options = spec[1] if len(spec) > 1 else {}
    choices = spec[0] if isinstance(spec[0], list) else options.get("options", [])
    empty = {"INT": 0, "FLOAT": 0.0, "STRING": "", "BOOLEAN": False}.get(str(spec[0]))
    return options.get("default", choices[0] if choices else empty)


def _reroutes(routes: list[Route]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The points that wires go through, and which of them is the last of each link."""
    points: list[dict[str, Any]] = []
    extensions = []
    for link, places in enumerate(routes, 1):
        for i, place in enumerate(places):
            point: dict[str, Any] = {"id": len(points) + 1, "pos": list(place), "linkIds": [link]}
            points.append({**point, "parentId": len(points)} if i else point)
        if places:
            extensions.append({"id": link, "parentId": len(points)})
    return points, extensions
