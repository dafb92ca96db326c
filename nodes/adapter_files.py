"""Files of adapters and ControlNets: their names, and what they say of themselves."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import folder_paths

from ..local_control.checkpoint import METADATA_PREFIX, AdapterFile
from ..local_control.control_file import ControlFile, read_header
from ..local_control.layout import AdapterFileError

FOLDER = "controlnet"
_HEADERS = 4096  # files whose headers are kept
_LONGEST_LINE = 300
# Options of Local Control Condition in the order in which files tell them, behind the kind.
_OPTIONS = {
    "canny": ("low_threshold", "high_threshold", "blur"),
    "colour": ("blocks",),
    "sobel": (),
    "laplacian": (),
}
_WHOLE = ("low_threshold", "high_threshold", "blocks")
# What the widgets of Local Control Condition take.
RANGES = {
    "low_threshold": (0, 1000),
    "high_threshold": (0, 1000),
    "blur": (0.0, 64.0),
    "blocks": (1, 256),
}
# Of the options that a file does not tell.
DEFAULTS = {"low_threshold": 100, "high_threshold": 200, "blur": 0.0, "blocks": 8}


def adapter_names() -> list[str]:
    """Return the names of the files that may be adapters, in the order in which they may fit.

    First those that tell how they were trained for local control, then all other T2I-Adapters, then
    the rest, such as ControlNets.
    """
    names = [n for n in folder_paths.get_filename_list(FOLDER) if n.endswith(".safetensors")]
    return sorted(names, key=_rank)


def adapter_infos() -> dict[str, dict]:
    """Return what the pack's script shows of each adapter there is, by the file's name.

    words: for a person; condition: the widgets of Local Control Condition by name, if it is told.
    """
    infos = {}
    for name in adapter_names():
        if header := _header(name):
            infos[name] = {"words": describe(header)}
            if condition := condition_of(header.metadata):
                kind, options = condition
                infos[name]["condition"] = {"kind": kind, **DEFAULTS, **options}
    return infos


def describe(file: ControlFile) -> str:
    """Return what a control is, for a person: its shape, then what its file says of itself.

    A line each; what a file says at length is cut short.
    """
    kind, widths = "ControlNet", ""
    if isinstance(file, AdapterFile):
        kind = f"{file.config.kind} T2I-Adapter"
        widths = f"channels {', '.join(map(str, file.config.channels))}, "
    colours = "gray" if file.in_channels == 1 else "RGB"
    lines = [f"{kind} for {file.family}, {widths}{colours} condition"]
    known = {
        key.removeprefix(METADATA_PREFIX): value
        for key, value in sorted(file.metadata.items())
        if key.startswith((METADATA_PREFIX, "modelspec.title", "modelspec.description"))
    }
    lines += [_line(f"{key}: {value}") for key, value in known.items()]
    if not known:
        lines.append("The file says nothing of its condition or training.")
    return "\n".join(lines)


def condition_of(metadata: Mapping[str, str]) -> tuple[str, dict[str, float]] | None:
    """Return the kind of condition that an adapter was trained for, and its options by name.

    metadata: of its file, in which "canny 100 200" is one. None if it says nothing that is known.
    """
    kind, *numbers = metadata.get(f"{METADATA_PREFIX}condition", "").split() or [""]
    if kind not in _OPTIONS:
        return None
    try:
        options = dict(zip(_OPTIONS[kind], map(float, numbers), strict=False))
        found = {name: int(v) if name in _WHOLE else v for name, v in options.items()}
    except (ValueError, OverflowError):
        return None
    return (kind, found) if all(_fits(name, value) for name, value in found.items()) else None


def _fits(name: str, value: float) -> bool:
    least, most = RANGES[name]
    return least <= value <= most


def file_version(name: str | None) -> tuple[int, int]:
    """Return when a control's file was changed and its size, which tell a new one.

    name: None while it is yet to come from another node.
    """
    if name is None:
        return 0, 0
    stat = Path(folder_paths.get_full_path_or_raise(FOLDER, name)).stat()
    return stat.st_mtime_ns, stat.st_size


def _rank(name: str) -> int:
    header = _header(name)
    if header is not None and any(key.startswith(METADATA_PREFIX) for key in header.metadata):
        return 0
    return 1 if isinstance(header, AdapterFile) else 2


def _header(name: str) -> ControlFile | None:
    """Return a control's file without its numbers; None if it is none's, or is gone."""
    path = folder_paths.get_full_path(FOLDER, name)
    if path is None:
        return None
    try:
        stat = Path(path).stat()
    except OSError:
        return None
    return _read(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(_HEADERS)
def _read(path: str, *_version: int) -> ControlFile | None:
    try:
        return read_header(Path(path))
    except AdapterFileError:
        return None


def _line(text: str) -> str:
    """Return a text as one short line that can be read; a file may say anything."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]} ..."
