"""Lists of whole arguments: prompts, in which a comma is a comma."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator
from pydantic_settings import NoDecode

# Stands between the arguments of a flag, and in none of them.
_BETWEEN = "\x1f"


def _split(value: Any) -> Any:
    return tuple(value.split(_BETWEEN)) if isinstance(value, str) else value


# Each argument after the flag is one of them.
Sentences = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


def are_whole(metadata: Sequence[Any]) -> bool:
    """Return whether a field of this metadata takes whole arguments."""
    return NoDecode in metadata


def join_whole(kind: type[BaseModel], flags: Sequence[str]) -> list[str]:
    """Return flags in which those of whole arguments have one, which their fields take apart."""
    whole = {f"--{name}" for name, field in kind.model_fields.items() if are_whole(field.metadata)}
    out: list[str] = []
    found: dict[str, list[str]] = {}
    current = None
    for flag in flags:
        name, equals, value = flag.partition("=")
        if flag.startswith("--"):
            current = found.setdefault(name, []) if name in whole else None
            if current is None:
                out.append(flag)
            elif equals:
                current.append(value)
        elif current is None:
            out.append(flag)
        else:
            current.append(flag)
    return out + [part for name, many in found.items() for part in (name, _BETWEEN.join(many))]
