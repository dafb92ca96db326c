"""The text of `--help`: every flag with its meaning, in groups."""

import textwrap
from collections.abc import Iterator
from inspect import get_annotations
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from .sentences import are_whole

_INDENT = 34


def help_text(kind: type[BaseModel], width: int = 100) -> str:
    """Return what `--help` prints of a command's settings: a group for each class of flags."""
    lines = [(kind.__doc__ or "").strip()]
    for title, fields in _groups(kind):
        lines += ["", f"{title}:"]
        for name, field in fields.items():
            lines += _flag(name, field, width)
    return "\n".join(lines)


def _groups(kind: type[BaseModel]) -> Iterator[tuple[str, dict[str, FieldInfo]]]:
    """Titles and fields: the command's own first, then each base's, in the order of the fields."""
    groups: dict[type, dict[str, FieldInfo]] = {kind: {}}
    for name, field in kind.model_fields.items():
        owner = next(cls for cls in kind.__mro__ if name in get_annotations(cls))
        groups.setdefault(owner, {})[name] = field
    for owner, fields in groups.items():
        title = "Settings" if owner is kind else (owner.__doc__ or "").strip().rstrip(".")
        if fields:
            yield title, fields


def _flag(name: str, field: FieldInfo, width: int) -> list[str]:
    """One flag with its values, meaning and default, wrapped."""
    start = f"  --{name}{_values(field.annotation)}"
    told = field.description or ""
    if are_whole(field.metadata):
        start = f"  --{name} A B ..."
    if field.annotation is bool:
        start = f"  --[no-]{name}"
    if field.is_required():
        told += " (needed)"
    elif (default := _default(field)) and "default:" not in told:
        told += f" (default: {default})"
    rest = textwrap.wrap(told.strip(), width - _INDENT) or [""]
    if len(start) < _INDENT - 1:
        return [start.ljust(_INDENT) + rest[0], *(" " * _INDENT + line for line in rest[1:])]
    return [start, *(" " * _INDENT + line for line in rest)]


def _values(annotation: Any) -> str:
    """What may follow a flag: its choices, or what kind of value it takes."""
    options = [part for part in get_args(annotation) if part is not NoneType]
    if get_origin(annotation) is Literal:
        return " {" + ",".join(map(str, options)) + "}"
    if get_origin(annotation) in (list, tuple):
        return " A,B,..."
    if get_origin(annotation) is dict:
        return " A=1,B=2"
    if options and NoneType in get_args(annotation):
        return _values(options[0])
    return " " + annotation.__name__.upper().removeprefix("SECRET")


def _default(field: FieldInfo) -> str:
    """A default as a flag would be given it; empty where there is nothing to tell."""
    value = field.get_default(call_default_factory=True)
    match value:
        case None | False | "" | {} | []:
            return ""
        case True:
            return "on"
        case tuple() | list():
            return ",".join(map(str, value))
        case float():
            return f"{value:g}"
    return str(value)
