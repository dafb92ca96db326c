"""The file of a control, an adapter or a ControlNet: the names of its tensors tell which."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from .checkpoint import AdapterFile, open_file, parse_adapter, read_adapter
from .controlnet import ControlNetFile, is_controlnet, parse_controlnet, read_controlnet

ControlFile = AdapterFile | ControlNetFile


def read_control(path: Path) -> ControlFile:
    """Return what the file of an adapter or a ControlNet holds, which has no tie to the file.

    Raises:
        AdapterFileError: not safetensors, damaged, neither of them, or not all of an adapter.
    """
    with open_file(path) as file:
        found = is_controlnet(file.keys())
    return read_controlnet(path) if found else read_adapter(path)


def parse_control(
    tensors: Mapping[str, Tensor], name: str, metadata: Mapping[str, str]
) -> ControlFile:
    """Return the adapter or the ControlNet in a state dict; `name` is for messages.

    Raises:
        AdapterFileError: as `read_control` says.
    """
    parse = parse_controlnet if is_controlnet(tensors) else parse_adapter
    return parse(tensors, name, metadata)
