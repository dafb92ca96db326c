"""Adapter files: read any layout, write safetensors with metadata, name what is wrong."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .adapter import Adapter, AdapterConfig
from .family import family_name
from .layout import AdapterFileError, read_layout

_LONGEST_CAUSE = 160
# Our keys in a file's metadata; the rest is the field's own (modelspec.*, ss_*).
METADATA_PREFIX = "local_control."

_DIFFUSERS_KINDS = {"full": "full_adapter", "light": "light_adapter", "xl": "full_adapter_xl"}
_FLOATS = (
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
)


@dataclass(frozen=True)
class AdapterFile:
    """What an adapter file holds: shape, weights in the flat layout, metadata."""

    config: AdapterConfig
    tensors: dict[str, Tensor]
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def family(self) -> str:
        """Return the models it is for, as its metadata tells or its channels let assume."""
        return family_name(self.config, self.metadata)

    @property
    def in_channels(self) -> int:
        """Return how many channels of a condition it reads."""
        return self.config.in_channels

    def build(self) -> Adapter:
        """Return the network with the file's weights, in the file's precision."""
        with torch.device("meta"):
            adapter = Adapter(self.config)
        adapter.load_state_dict(self.tensors, assign=True)
        return adapter.train(False).requires_grad_(False)


def read_adapter(path: Path) -> AdapterFile:
    """Return what an adapter file holds: flat or diffusers layout, full, light or XL.

    Names may have prefixes. What is returned has no tie to the file, which may change or vanish.

    Raises:
        AdapterFileError: not safetensors, damaged, no adapter, or not all of one.
    """
    with open_file(path) as file:
        config, names = read_layout(shapes_in(file), path.name)
        # Clones, since what is returned otherwise stays mapped to the file: overwriting the file
        # would change live weights, and cutting it short would end the process.
        tensors = {key: file.get_tensor(name).clone() for key, name in names.items()}
        metadata = dict(file.metadata() or {})
    check_numbers(tensors, path.name)
    return AdapterFile(config, tensors, metadata)


def read_adapter_header(path: Path) -> AdapterFile:
    """Return an adapter file without its numbers: its weights have shapes alone, on "meta".

    Raises:
        AdapterFileError: not safetensors, damaged, no adapter, or not all of one.
    """
    with open_file(path) as file:
        shapes = shapes_in(file)
        config, names = read_layout(shapes, path.name)
        tensors = {key: torch.empty(shapes[name], device="meta") for key, name in names.items()}
        return AdapterFile(config, tensors, dict(file.metadata() or {}))


def read_metadata(path: Path) -> dict[str, str]:
    """Return what a file says of itself, without its weights.

    Raises:
        AdapterFileError: not safetensors, or damaged.
    """
    with open_file(path) as file:
        return dict(file.metadata() or {})


def shapes_in(file: Any) -> dict[str, tuple[int, ...]]:
    """Return the shapes of an opened file's tensors by name."""
    return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}


@contextmanager
def open_file(path: Path) -> Iterator[Any]:
    """Yield a control's file, opened; AdapterFileError if it is none that can be read."""
    if path.suffix != ".safetensors":
        raise AdapterFileError(
            f"{path.name} is not a .safetensors file; convert it first, since other formats can "
            f"run code when they are opened."
        )
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError:
        raise AdapterFileError(f"There is no file {path.name}.") from None
    except (SafetensorError, OSError) as error:
        raise AdapterFileError(
            f"{path.name} cannot be read as safetensors ({_shorten(error)}); it is damaged, cut "
            f"short or another kind of file: download or export it again."
        ) from error


def parse_adapter(
    tensors: Mapping[str, Tensor], name: str, metadata: Mapping[str, str] | None = None
) -> AdapterFile:
    """Return the adapter in a state dict of any layout; `name` is for messages.

    Raises:
        AdapterFileError: it is no adapter, or not all of one.
    """
    config, names = read_layout({key: tuple(v.shape) for key, v in tensors.items()}, name)
    flat = {key: tensors[original] for key, original in names.items()}
    check_numbers(flat, name)
    return AdapterFile(config, flat, dict(metadata or {}))


def _shorten(error: Exception) -> str:
    """Return what a library says of a file, without what the file makes it say at length."""
    text = "".join(letter if letter.isprintable() else "?" for letter in str(error))
    return text if len(text) <= _LONGEST_CAUSE else f"{text[:_LONGEST_CAUSE]} ..."


def check_numbers(tensors: Mapping[str, Tensor], name: str) -> None:
    """Raise AdapterFileError unless all weights are floats and finite."""
    for key, value in tensors.items():
        if value.dtype not in _FLOATS:
            raise AdapterFileError(
                f"{name} has {key} in {str(value.dtype).removeprefix('torch.')}, but a control's "
                f"weights are floats; load a file that was not quantised to integers."
            )
        if not value.float().isfinite().all():
            raise AdapterFileError(
                f"{name} has numbers in {key} that are NaN or infinite; the file is damaged or its "
                f"training diverged: download it again, or export an earlier checkpoint."
            )


def write_adapter(adapter: AdapterFile, path: Path) -> None:
    """Write the flat layout in fp16, which stock ComfyUI and this package read.

    Raises:
        AdapterFileError: a weight is too large for fp16.
    """
    tensors = {
        key: value.detach().half().contiguous().cpu() for key, value in adapter.tensors.items()
    }
    for key, value in tensors.items():
        if not value.isfinite().all():
            raise AdapterFileError(
                f"{path.name} cannot be written in fp16, since {key} holds numbers beyond "
                f"{torch.finfo(torch.float16).max:g}; its training diverged: export an earlier "
                f"checkpoint."
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata=adapter.metadata)
    partial.replace(path)


def to_diffusers(adapter: AdapterFile) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the config and the tensors of a diffusers T2IAdapter.

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
