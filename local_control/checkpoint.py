"""Adapter files: read any layout, write safetensors with metadata, name what is wrong."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .adapter import Adapter, AdapterConfig

# Our keys in a file's metadata; the rest is the field's own (modelspec.*, ss_*).
METADATA_PREFIX = "local_control."

_LEVELS = 4
_DIFFUSERS_KINDS = {"full": "full_adapter", "light": "light_adapter", "xl": "full_adapter_xl"}
_WRAPPERS = ("module.", "adapter.", "t2i_adapter.")


class AdapterFileError(ValueError):
    """An adapter file that cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class AdapterFile:
    """What an adapter file holds: shape, weights in the flat layout, metadata."""

    config: AdapterConfig
    tensors: dict[str, Tensor]
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def family(self) -> str:
        """The models whose channels the adapter has: SDXL, SD1.5, or a width that says so."""
        return family_name(self.config)

    def build(self) -> Adapter:
        """The network with the file's weights, in the file's precision."""
        with torch.device("meta"):
            adapter = Adapter(self.config)
        adapter.load_state_dict(self.tensors, assign=True)
        return adapter.train(False).requires_grad_(False)


def family_name(config: AdapterConfig) -> str:
    """'SD1.5', 'SDXL', or the width for a family that is neither."""
    if config.kind == "xl":
        return "SDXL"
    return "SD1.5" if config.channels[0] == 320 else f"width {config.channels[0]}"


def read_adapter(path: Path) -> AdapterFile:
    """Read an adapter: flat or diffusers layout, full, light or XL, with or without prefixes.

    Raises:
        AdapterFileError: not safetensors, damaged, no adapter, or not all of one.
    """
    if path.suffix != ".safetensors":
        raise AdapterFileError(
            f"{path.name} is not a .safetensors file; convert it first, since other formats can "
            f"run code when they are opened."
        )
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}
            metadata = dict(file.metadata() or {})
    except FileNotFoundError:
        raise AdapterFileError(f"There is no file {path.name}.") from None
    except (SafetensorError, OSError) as error:
        raise AdapterFileError(
            f"{path.name} cannot be read as safetensors ({error}); it is damaged, cut short or "
            f"another kind of file: download or export it again."
        ) from error
    return parse_adapter(tensors, path.name, metadata)


def parse_adapter(
    tensors: Mapping[str, Tensor], name: str, metadata: Mapping[str, str] | None = None
) -> AdapterFile:
    """The adapter in a state dict of any layout; `name` is for messages."""
    flat = _to_flat(_unwrap(tensors))
    try:
        config = _infer_config(flat)
    except KeyError as missing:
        raise AdapterFileError(
            f"{name} is no T2I-Adapter: it has no tensor {missing}. Load a T2I-Adapter (full, "
            f"light or XL); ControlNets and style adapters have loaders of their own."
        ) from None
    with torch.device("meta"):
        expected = Adapter(config).state_dict()
    missing = sorted(expected.keys() - flat.keys())
    if missing:
        raise AdapterFileError(
            f"{name} lacks {len(missing)} of the {len(expected)} tensors of a {config.kind} "
            f"adapter, first {missing[0]}; the file is incomplete: export or download it again."
        )
    for key, value in expected.items():
        if flat[key].shape != value.shape:
            raise AdapterFileError(
                f"{name} has {key} of shape {tuple(flat[key].shape)}, but a {config.kind} adapter "
                f"with channels {config.channels} needs {tuple(value.shape)}."
            )
    unexpected = sorted(flat.keys() - expected.keys())
    if unexpected:
        raise AdapterFileError(
            f"{name} has {len(unexpected)} tensors that a {config.kind} adapter does not know, "
            f"first {unexpected[0]}; it is another kind of model."
        )
    return AdapterFile(config, {key: flat[key] for key in expected}, dict(metadata or {}))


def write_adapter(adapter: AdapterFile, path: Path) -> None:
    """Write the flat layout in fp16, which stock ComfyUI and this package read."""
    tensors = {
        key: value.detach().half().contiguous().cpu() for key, value in adapter.tensors.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata=adapter.metadata)
    partial.replace(path)


def to_diffusers(adapter: AdapterFile) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The config and the tensors of a diffusers T2IAdapter.

    Raises:
        AdapterFileError: diffusers has no network of this shape.
    """
    config = adapter.config
    if config.strided or (config.kernel != 1 and config.kind != "light"):
        raise AdapterFileError(
            f"diffusers has no adapter with {config.kernel}x{config.kernel} second convolutions or "
            f"strided downsampling; use the flat file."
        )
    channels = list(config.channels)
    if config.kind == "light":  # diffusers adds a last level as wide as the one before
        channels = channels[:-1]
    tensors = {}
    for key, value in adapter.tensors.items():
        if config.kind == "light":
            key = re.sub(r"^(body\.\d+)\.body\.", r"\1.resnets.", key)
        elif match := re.match(r"body\.(\d+)\.(.+)", key):
            level, block = divmod(int(match[1]), config.blocks)
            shared = match[2].startswith(("in_conv.", "down_opt."))
            key = f"body.{level}.{match[2] if shared else f'resnets.{block}.{match[2]}'}"
        tensors[f"adapter.{key}"] = value
    about = {
        "_class_name": "T2IAdapter",
        "adapter_type": _DIFFUSERS_KINDS[config.kind],
        "channels": channels,
        "downscale_factor": config.unshuffle,
        "in_channels": config.in_channels,
        "num_res_blocks": config.blocks,
    }
    return about, tensors


def _unwrap(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Drop wrappers (DDP's module., diffusers' adapter.) that stand before every key."""
    out = dict(tensors)
    while prefix := next((w for w in _WRAPPERS if out and all(k.startswith(w) for k in out)), None):
        out = {key.removeprefix(prefix): value for key, value in out.items()}
    return out


def _to_flat(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """diffusers layout -> flat layout; what is flat already passes through.

    diffusers nests residual blocks in levels (body.LEVEL.resnets.BLOCK); the flat layout numbers
    those of a full or XL adapter through, and calls those of a light one body.LEVEL.body.BLOCK.
    """
    if _is_light(tensors):
        return {key.replace(".resnets.", ".body."): value for key, value in tensors.items()}
    nested = [
        match for key in tensors if (match := re.match(r"body\.(\d+)\.resnets\.(\d+)\.", key))
    ]
    if not nested:
        return dict(tensors)
    blocks = 1 + max(int(match[2]) for match in nested)
    out = {}
    for key, value in tensors.items():
        if match := re.match(r"body\.(\d+)\.(?:resnets\.(\d+)\.)?(.+)", key):
            key = f"body.{int(match[1]) * blocks + int(match[2] or 0)}.{match[3]}"
        out[key] = value
    return out


def _is_light(tensors: Mapping[str, Tensor]) -> bool:
    return any(key.endswith(".out_conv.weight") for key in tensors)


def _infer_config(tensors: Mapping[str, Tensor]) -> AdapterConfig:
    """The shape of the network behind a flat state dict; KeyError names what is missing."""
    if _is_light(tensors):
        levels = sum(bool(re.fullmatch(r"body\.\d+\.out_conv\.weight", key)) for key in tensors)
        return AdapterConfig(
            kind="light",
            in_channels=tensors["body.0.in_conv.weight"].shape[1] // 64,
            channels=tuple(tensors[f"body.{i}.out_conv.weight"].shape[0] for i in range(levels)),
            blocks=sum(
                bool(re.fullmatch(r"body\.0\.body\.\d+\.block1\.weight", k)) for k in tensors
            ),
            kernel=3,
        )
    c_in = tensors["conv_in.weight"].shape[1]
    kernel = tensors["body.0.block2.weight"].shape[-1]
    count = sum(bool(re.fullmatch(r"body\.\d+\.block1\.weight", key)) for key in tensors)
    blocks = -(-count // _LEVELS)
    # As stock ComfyUI tells them apart: an XL adapter unshuffles by 16.
    xl = c_in in (256, 768)
    return AdapterConfig(
        kind="xl" if xl else "full",
        in_channels=c_in // (256 if xl else 64),
        channels=tuple(
            tensors[f"body.{i * blocks}.block1.weight"].shape[0] for i in range(_LEVELS)
        ),
        blocks=blocks,
        kernel=kernel,
        strided=any(key.endswith(".down_opt.op.weight") for key in tensors),
    )
