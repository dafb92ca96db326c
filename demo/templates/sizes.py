"""How much room a node takes, in units of the canvas.

The frontend has two ways to draw nodes. The numbers are of the one that needs more: Nodes 2.0 of
ComfyUI 0.3.75's frontend; the other ones leave some of the room empty.
"""

import textwrap
from collections.abc import Mapping
from typing import Any

from testbed.workflow import inputs_of, is_upload, is_widget

TITLE = 30
_SLOT, _WIDGET, _REST = 24, 34, 24
_TEXT = 100  # a field of several lines
_LINE, _PARAGRAPH, _MARGINS, _LETTER = 22.4, 7, 54, 7  # of a note
_PICTURE = 380  # what a node shows below its widgets, once it has run
# What is in no schema: a switch, sliders in place of a text, panels.
_ADDED = {
    "LocalControl_Condition": _WIDGET,
    "LocalControl_LoadAdapter": 200,
    "LocalControl_Region": 3 * _WIDGET,
    "LocalControl_LocalControl": 350,
    "LocalControl_Compare": 350,
    "LocalControl_Z0Frames": 510,
}


def body_height(node_type: str, info: Mapping[str, Any], is_showing: bool) -> int:
    """Return a node's height without its title; is_showing: a picture below its widgets."""
    specs = [spec for _, spec in inputs_of(info)]
    sockets = sum(not is_widget(spec) for spec in specs)
    slots = max(sockets, len(info["output"]))
    widgets = sum(_widget_height(spec) for spec in specs if is_widget(spec))
    widgets += _ADDED.get(node_type, 0)
    return _SLOT * slots + widgets + _REST + (_PICTURE if is_showing else 0)


def note_height(text: str, width: int) -> int:
    """Return the height of a note without its title, whose paragraphs stand an empty line apart."""
    letters = (width - 50) // _LETTER
    paragraphs = text.split("\n\n")
    lines = sum(len(textwrap.wrap(paragraph, letters)) for paragraph in paragraphs)
    return round(_MARGINS + _LINE * lines + _PARAGRAPH * (len(paragraphs) - 1))


def _widget_height(spec: list[Any]) -> int:
    options = spec[1] if len(spec) > 1 else {}
    if options.get("multiline"):
        return _TEXT
    return _WIDGET * (2 if is_upload(spec) else 1)
