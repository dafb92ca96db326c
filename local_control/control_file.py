"""The file of a control, an adapter or a ControlNet: the names of its tensors tell which."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from .checkpoint import (
    AdapterFile,
    open_file,
    parse_adapter,
    read_adapter,
    read_adapter_header,
)
from .controlnet import (
    ControlNetFile,
    is_controlnet,
    parse_controlnet,
    read_controlnet,
    read_controlnet_header,
)

ControlFile = AdapterFile | ControlNetFile


def read_control(path: Path) -> ControlFile:
    """Return what the file of an adapter or a ControlNet holds, which has no tie to the file.

    Raises:
        AdapterFileError: not safetensors, damaged, neither of them, or not all of an adapter.
    """
    return read_controlnet(path) if _is_controlnet(path) else read_adapter(path)


def read_header(path: Path) -> ControlFile:
    """Return such a file without its numbers: its weights have shapes alone, on "meta".

    Raises:
        AdapterFileError: as `read_control` says.
    """
    return read_controlnet_header(path) if _is_controlnet(path) else read_adapter_header(path)


def parse_control(
    tensors: Mapping[str, Tensor], name: str, metadata: Mapping[str, str]
) -> ControlFile:
    """Return the adapter or the ControlNet in a state dict; `name` is for messages.

    Raises:
        AdapterFileError: as `read_control` says.
    """
    parse = parse_controlnet if is_controlnet(tensors) else parse_adapter
    return parse(tensors, name, metadata)


def _is_controlnet(path: Path) -> bool:
    with open_file(path) as file:
        return is_controlnet(file.keys())
