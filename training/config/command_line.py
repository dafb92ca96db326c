"""The command line of a run, as it may be shown to others: without the places of this machine."""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from .identity import PLACES, defaults
from .sentences import are_whole

# What is of one machine, one person or one start.
_OF_HERE = frozenset(
    {
        *("output_dir", "cache_dir", "logging_dir", "resume_from_checkpoint"),
        *("push_to_hub", "hub_model_id", "hub_private_repo", "license"),
        *("report_to", "tracker_project_name", "allow_outside_paths", "dataloader_num_workers"),
    }
)

# What is named by a path or by a name on the hub, which is kept whole.
_HUB_NAMES = frozenset(
    {
        *("pretrained_model_name_or_path", "base_config", "pretrained_vae_model_name_or_path"),
        "dataset_name",
    }
)


def is_path(name: str) -> bool:
    """Return whether a name is that of a file or folder, and not one on the hub."""
    path = Path(name)
    local = path.suffix in (".safetensors", ".ckpt") or path.is_absolute() or path.exists()
    return local or name.startswith((".", "~"))


def command_line(kind: type[BaseModel], resolved: Mapping[str, Any], module: str) -> str:
    """Return the command that repeats a run, a flag a line; of files and folders the names alone.

    resolved: what its settings say, as JSON can hold it; defaults are left out.
    """
    usual = defaults(kind)
    flags = [
        " ".join(map(shlex.quote, _flag(kind, name, value)))
        for name, value in sorted(resolved.items())
        if name not in _OF_HERE and value != usual[name]
    ]
    return " \\\n    ".join([f"python -m {module}", *flags])


def _flag(kind: type[BaseModel], name: str, value: Any) -> Iterator[str]:
    """One flag and what follows it."""
    if isinstance(value, bool):
        yield f"--{name}" if value else f"--no-{name}"
        return
    yield f"--{name}"
    if name in _HUB_NAMES:
        yield Path(value).name if is_path(value) else value
    elif name in PLACES:
        many = value if isinstance(value, list) else [value]
        yield from (Path(one).name or one for one in many)
    elif are_whole(kind.model_fields[name].metadata):
        yield from value
    elif isinstance(value, dict):
        yield ",".join(f"{key}={part}" for key, part in value.items())
    elif isinstance(value, list):
        yield ",".join(map(str, value))
    else:
        yield str(value)
