"""ControlNet files of SD1.5, SD2 and SDXL, by the names that diffusers gives their tensors."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .checkpoint import check_numbers, open_file, shapes_in
from .layout import AdapterFileError, quote_key
from .original import original_name

# The key of a file's metadata that holds the configuration of diffusers' network, in JSON.
DIFFUSERS_CONFIG = "diffusers.config"

_CONDITION = "controlnet_cond_embedding.conv_in.weight"
_FIRST = "conv_in.weight"
_TEXT = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"
_POOLED = "add_embedding.linear_1.weight"
_WRAPPER = "module."
# What no ControlNet of these families comes near; files beyond it are refused.
_MOST_TENSORS = 4000
_MOST_DIMENSIONS = 4
_WIDEST = 65536
_CHANNELS = (1, 3)
_WIDTH = 320
_SD2_TEXT = 1024


@dataclass(frozen=True)
class ControlNetFile:
    """What a ControlNet's file holds: weights by diffusers' names, metadata."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def in_channels(self) -> int:
        """Return how many channels of a condition it reads."""
        return self.tensors[_CONDITION].shape[1]

    @property
    def family(self) -> str:
        """Return the models that it is for: 'SD1.5', 'SD2', 'SDXL', or the width of others."""
        width = len(self.tensors[_FIRST])
        if width != _WIDTH:
            return f"width {width}"
        if _POOLED in self.tensors:
            return "SDXL"
        text = self.tensors.get(_TEXT)
        return "SD2" if text is not None and text.shape[1] == _SD2_TEXT else "SD1.5"

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all tensors by name."""
        return {key: tuple(value.shape) for key, value in self.tensors.items()}

    def original(self) -> dict[str, Tensor]:
        """Return the tensors by the names of the original ControlNet, as ComfyUI's network has."""
        return {original_name(key): value for key, value in self.tensors.items()}

    def diffusers_config(self, name: str) -> dict[str, Any]:
        """Return the configuration of a diffusers ControlNetModel; `name`: the file's.

        Raises:
            AdapterFileError: the file does not tell it.
        """
        try:
            found = json.loads(self.metadata.get(DIFFUSERS_CONFIG, ""))
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise AdapterFileError(
                f"{name} does not tell the configuration of its network; export a file that this "
                f"trainer wrote, or take the folder that the file came from."
            )
        return {"_class_name": "ControlNetModel", **found}


def is_controlnet(keys: Iterable[str]) -> bool:
    """Return whether names of a file's tensors are those of a ControlNet, as diffusers has them."""
    return any(key.removeprefix(_WRAPPER) == _CONDITION for key in keys)


def read_controlnet(path: Path) -> ControlNetFile:
    """Return what a ControlNet's file holds, which has no tie to the file.

    Raises:
        AdapterFileError: not safetensors, damaged, or no ControlNet.
    """
    with open_file(path) as file:
        _check_shapes(shapes_in(file), path.name)
        tensors = {key: file.get_tensor(key).clone() for key in file.keys()}
        metadata = dict(file.metadata() or {})
    return parse_controlnet(tensors, path.name, metadata)


def read_controlnet_header(path: Path) -> ControlNetFile:
    """Return a ControlNet's file without its numbers: its weights have shapes alone, on "meta".

    Raises:
        AdapterFileError: not safetensors, damaged, or no ControlNet.
    """
    with open_file(path) as file:
        shapes = shapes_in(file)
        _check_shapes(shapes, path.name)
        tensors = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
        return _unwrapped(tensors, dict(file.metadata() or {}))


def parse_controlnet(
    tensors: Mapping[str, Tensor], name: str, metadata: Mapping[str, str] | None = None
) -> ControlNetFile:
    """Return the ControlNet in a state dict, whether or not it is all of one; `name`: for messages.

    Raises:
        AdapterFileError: it is no ControlNet of SD1.5, SD2 or SDXL.
    """
    _check_shapes({key: tuple(value.shape) for key, value in tensors.items()}, name)
    check_numbers(tensors, name)
    return _unwrapped(tensors, metadata or {})


def _unwrapped(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> ControlNetFile:
    found = {key.removeprefix(_WRAPPER): value for key, value in tensors.items()}
    return ControlNetFile(found, dict(metadata))


def _check_shapes(shapes: Mapping[str, tuple[int, ...]], name: str) -> None:
    """Raise AdapterFileError unless a ControlNet of these families may have such tensors."""
    if len(shapes) > _MOST_TENSORS:
        raise AdapterFileError(
            f"{name} has {len(shapes):,} tensors, and no ControlNet of SD1.5, SD2 or SDXL has so "
            f"many; load another file."
        )
    for key, shape in shapes.items():
        try:
            original_name(key.removeprefix(_WRAPPER))
        except KeyError:
            raise AdapterFileError(
                f"{name} has a tensor {quote_key(key)}, which no ControlNet of SD1.5, SD2 or SDXL "
                f"has; other kinds load in stock Load ControlNet Model."
            ) from None
        if not 1 <= len(shape) <= _MOST_DIMENSIONS or not all(1 <= n <= _WIDEST for n in shape):
            raise AdapterFileError(
                f"{name} has {quote_key(key)} of shape {list(shape)}, and no ControlNet has such a "
                f"tensor; the file is damaged: download or export it again."
            )
    told = {key.removeprefix(_WRAPPER): shape for key, shape in shapes.items()}
    for key, dimensions, is_needed in ((_CONDITION, 4, True), (_FIRST, 4, True), (_TEXT, 2, False)):
        if (is_needed or key in told) and len(told.get(key, ())) != dimensions:
            raise AdapterFileError(
                f"{name} is no ControlNet: its {key} is no weight of {dimensions} dimensions; "
                f"export or download it again."
            )
    if told[_CONDITION][1] not in _CHANNELS:
        raise AdapterFileError(
            f"{name} reads a condition of {told[_CONDITION][1]} channels, and pictures have "
            f"{' or '.join(map(str, _CHANNELS))}; load another ControlNet."
        )
