"""Files of adapters: their names, and what they say of their condition."""

from collections.abc import Mapping

import folder_paths

from ..local_control.checkpoint import METADATA_PREFIX

FOLDER = "controlnet"
# Options of Local Control Condition in the order in which files tell them, behind the kind.
_OPTIONS = {
    "canny": ("low_threshold", "high_threshold", "blur"),
    "colour": ("blocks",),
    "sobel": (),
    "laplacian": (),
}
_WHOLE = ("low_threshold", "high_threshold", "blocks")


def adapter_names() -> list[str]:
    """Return the names of the files that may be adapters."""
    names = folder_paths.get_filename_list(FOLDER)
    return [name for name in names if name.endswith(".safetensors")]


def condition_of(metadata: Mapping[str, str]) -> tuple[str, dict[str, float]] | None:
    """Return the kind of condition that an adapter was trained for, and its options by name.

    metadata: of its file, in which "canny 100 200" is one. None if it says nothing that is known.
    """
    kind, *numbers = metadata.get(f"{METADATA_PREFIX}condition", "").split() or [""]
    if kind not in _OPTIONS:
        return None
    options = dict(zip(_OPTIONS[kind], map(float, numbers), strict=False))
    return kind, {name: int(v) if name in _WHOLE else v for name, v in options.items()}
