"""Files of controls in every layout, and ways to break them: by accident or on purpose.

A draft is a file before it is written: its tensors under their names, and its metadata. Changes of
drafts leave a file that a writer could have made; changes of bytes leave what a disk, a network or
a hand may leave. All are drawn from a generator alone, so that a file can be made again.
"""

import json
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from diffusers import ControlNetModel

from local_control.adapter import Adapter, AdapterConfig, Kind
from local_control.checkpoint import AdapterFile, to_diffusers

# What safetensors knows, and bytes of one; and what it may come to know.
_SIZES = {
    **{"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1},
    **{"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1},
    **{"F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1, "C64": 8, "F4": 1, "F6_E2M3": 1, "F6_E3M2": 1, "Q4": 1},
}
_CONTROLNET: dict[str, Any] = {
    "block_out_channels": (4, 8),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "conditioning_embedding_out_channels": (4, 4),
    **{"layers_per_block": 1, "norm_num_groups": 2},
    **{"cross_attention_dim": 4, "attention_head_dim": 2},
}
_NUMPY = {"F64": np.float64, "F32": np.float32, "F16": np.float16}
_SIDES = (0, 1, 2, 3, 4, 5, 6, 7, 9, 16, 63, 64, 192, 256, 768, 65536, 2**31, 2**63, 2**64 - 1)
_NAMES = (
    *("", ".", "body", "body.", "body.0", "body..block1.weight", "body.-1.block1.weight"),
    *("body.99999999999999999999.block1.weight", "body.\u0663.block1.weight", "adapter."),
    *("body.999.out_conv.weight", "body.0.resnets.999.block1.weight", "conv_in.weight\n", "\0"),
    *("body.0.in_conv.weight.weight", "x" * 100_000, "input_blocks.0.weight", "__metadata__"),
)
_TEXTS = (
    *("", "canny a b", "canny nan 1e999", "colour 1e9", "\0", "\n" * 50, "a" * 100_000),
    *("stable-diffusion-v2", "stable-diffusion-xl-v1-base", "\u202e", "\U0001f600", "{}", "sd_v2"),
)
_KEYS = (
    *("local_control.condition", "local_control.method", "modelspec.title", "format"),
    *("modelspec.architecture", "ss_base_model_version", "local_control.", "", "\ud800"),
)


@dataclass
class Stored:
    """A tensor as a file holds it; offsets: of its bytes, where the header lies about them."""

    dtype: str
    shape: list[Any]
    data: bytes
    offsets: list[Any] | None = None


@dataclass
class Draft:
    """A file before it is written."""

    tensors: dict[str, Stored]
    metadata: Any


def draw_file(rng: np.random.Generator) -> tuple[bytes, list[str]]:
    """Return the bytes of a file that is broken in a way or two, and the ways' names."""
    base = _BASES[rng.integers(len(_BASES))]
    draft = _draft(*base)
    ways = [DRAFT_CHANGES[i] for i in rng.integers(len(DRAFT_CHANGES), size=rng.integers(4))]
    for change in ways:
        change(rng, draft)
    content = to_bytes(draft)
    names = [change.__name__ for change in ways]
    if not ways or rng.random() < 0.2:
        damage = BYTE_CHANGES[rng.integers(len(BYTE_CHANGES))]
        content = damage(rng, content)
        names.append(damage.__name__)
    return content, names


def to_bytes(draft: Draft) -> bytes:
    """Return the .safetensors file of a draft."""
    header: dict[str, Any] = {}
    if draft.metadata is not None:
        header["__metadata__"] = draft.metadata
    end = 0
    for name, tensor in draft.tensors.items():
        start, end = end, end + len(tensor.data)
        offsets = tensor.offsets or [start, end]
        header[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": offsets}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(t.data for t in draft.tensors.values())


# An adapter, or the one ControlNet there is.
_Network = AdapterConfig | None
_Base = tuple[_Network, bool, str]


def _bases() -> list[_Base]:
    """Networks, whether as diffusers has them, and what stands before all names."""
    kinds: tuple[Kind, ...] = ("full", "light", "xl")
    small = [
        AdapterConfig(kind, in_channels, (4, 8, 8, 8), blocks)
        for kind in kinds
        for in_channels in (1, 3)
        for blocks in (1, 2)
    ]
    small = [replace(config, kernel=3) if config.kind == "light" else config for config in small]
    variants = [
        AdapterConfig("full", 1, (4, 8, 8, 8), kernel=3),
        AdapterConfig("full", 1, (4, 8, 8, 8), strided=True),
    ]
    flat = [(config, False, prefix) for config in small + variants for prefix in ("", "module.")]
    networks = (*small, None)
    return flat + [(network, True, prefix) for network in networks for prefix in ("", "module.")]


_BASES = _bases()


@cache
def _weights(network: _Network, diffusers: bool) -> dict[str, tuple[list[int], bytes]]:
    """Shapes and fp32 bytes of a network, by the names of a layout."""
    torch.manual_seed(0)
    if network is None:
        tensors = ControlNetModel(**_CONTROLNET).state_dict()
    else:
        tensors = Adapter(network).state_dict()
        if diffusers:
            tensors = to_diffusers(AdapterFile(network, tensors))[1]
    return {key: (list(v.shape), v.numpy().tobytes()) for key, v in tensors.items()}


def _draft(network: _Network, diffusers: bool, prefix: str) -> Draft:
    tensors = {
        prefix + name: Stored("F32", list(shape), data)
        for name, (shape, data) in _weights(network, diffusers).items()
    }
    return Draft(tensors, {"local_control.condition": "canny 100 200"})


def unbroken_drafts() -> list[Draft]:
    """Return a draft of every layout, network and prefix, as a writer would leave it."""
    return [_draft(*base) for base in _BASES]


def _pick(rng: np.random.Generator, draft: Draft) -> str | None:
    """The name of one of the tensors, if there are any."""
    names = list(draft.tensors)
    return names[rng.integers(len(names))] if names else None


def _choose(rng: np.random.Generator, options: tuple[Any, ...]) -> Any:
    return options[rng.integers(len(options))]


def _fill(rng: np.random.Generator, draft: Draft, dtype: str, shape: list[int]) -> Stored:
    """A tensor with the bytes that its shape needs, if they are not too many."""
    wanted = math.prod(shape) * _SIZES[dtype] if all(type(side) is int for side in shape) else 0
    return Stored(dtype, shape, rng.bytes(wanted) if 0 < wanted < 2**20 else b"")


def drop_tensors(rng: np.random.Generator, draft: Draft) -> None:
    """Leave out some tensors, or all."""
    keep = rng.choice([0.0, 0.5, 0.98])
    draft.tensors = {name: t for name, t in draft.tensors.items() if rng.random() < keep}


def rename_tensor(rng: np.random.Generator, draft: Draft) -> None:
    """Give a tensor a name that none has, or one with a letter too many or too few."""
    name = _pick(rng, draft)
    if name is None:
        return
    tensor = draft.tensors.pop(name)
    at = int(rng.integers(len(name))) if name else 0
    letter = chr(rng.choice([0, 9, 10, 46, 48, 49, 57, 97, 0x661, 0x1F600]))
    options = (_choose(rng, _NAMES), name[:at] + name[at + 1 :], name[:at] + letter + name[at:])
    draft.tensors[_choose(rng, options)] = tensor


def move_level(rng: np.random.Generator, draft: Draft) -> None:
    """Put another number in the place of one in all names."""
    old, new = rng.integers(0, 4), rng.choice([0, 1, 5, 9, 40, 999, 1000, 10**9])
    draft.tensors = {
        name.replace(f".{old}.", f".{new}."): tensor for name, tensor in draft.tensors.items()
    }


def change_prefix(rng: np.random.Generator, draft: Draft) -> None:
    """Put something before all names, or before some."""
    prefix = _choose(rng, ("module.", "adapter.", "t2i_adapter.", "module." * 60, "control_model."))
    share = rng.choice([0.5, 1.0])
    draft.tensors = {
        prefix + name if rng.random() < share else name: t for name, t in draft.tensors.items()
    }


def mix_layouts(rng: np.random.Generator, draft: Draft) -> None:
    """Add the tensors of another network or layout."""
    for name, tensor in _draft(*_BASES[rng.integers(len(_BASES))]).tensors.items():
        if rng.random() < 0.5:
            draft.tensors.setdefault(name, tensor)


def add_tensors(rng: np.random.Generator, draft: Draft) -> None:
    """Add tensors that no adapter has, or levels and blocks without end."""
    count = int(rng.choice([1, 3, 900, 5000]))
    pattern = _choose(
        rng,
        (
            *("body.{}.block1.weight", "body.{}.out_conv.weight", "body.0.body.{}.block1.weight"),
            *("body.{}.resnets.0.block1.weight", "body.0.resnets.{}.block1.weight", "extra.{}"),
        ),
    )
    for number in range(count):
        draft.tensors.setdefault(pattern.format(number), Stored("F16", [0], b""))


def change_type(rng: np.random.Generator, draft: Draft) -> None:
    """Give a tensor, or all, another type of numbers."""
    dtype = _choose(rng, tuple(_SIZES))
    whole, one = rng.random() < 0.5, _pick(rng, draft)
    for name, old in draft.tensors.items():
        if not whole and name != one:
            continue
        if dtype in _NUMPY and old.dtype == "F32" and len(old.data) % 4 == 0:
            with np.errstate(all="ignore"):
                data = np.frombuffer(old.data, np.float32).astype(_NUMPY[dtype]).tobytes()
            draft.tensors[name] = Stored(dtype, old.shape, data)
        elif all(isinstance(side, int) for side in old.shape):
            draft.tensors[name] = _fill(rng, draft, dtype, old.shape)


def change_shape(rng: np.random.Generator, draft: Draft) -> None:
    """Give a tensor another rank, or one of its sides another length, with bytes for it."""
    name = _pick(rng, draft)
    if name is None:
        return
    shape = list(draft.tensors[name].shape)
    match rng.integers(5):
        case 0:
            shape = [len(draft.tensors[name].data) // _SIZES["F32"]]
        case 1:
            shape = [*shape, 1]
        case 2:
            shape = shape[::-1]
        case 3:
            shape = shape[1:]
        case _ if shape:
            shape[rng.integers(len(shape))] = _choose(rng, _SIDES)
    draft.tensors[name] = _fill(rng, draft, "F32", shape)


def change_kernels(rng: np.random.Generator, draft: Draft) -> None:
    """Give all convolutions of one name kernels of another size."""
    known = ("block1", "block2", "in_conv", "conv_in", "out_conv", "conv1")
    parts = [part for part in known if any(f"{part}.weight" in name for name in draft.tensors)]
    if not parts:
        return
    part, side = _choose(rng, tuple(parts)), rng.integers(9)
    for name, tensor in draft.tensors.items():
        if f"{part}.weight" in name and len(tensor.shape) == 4:
            shape = [*tensor.shape[:2], int(side), int(side)]
            draft.tensors[name] = _fill(rng, draft, "F16", shape)


def change_inputs(rng: np.random.Generator, draft: Draft) -> None:
    """Give the first convolution other inputs, so that it reads another condition."""
    for name in ("conv_in.weight", "body.0.in_conv.weight"):
        for found in [key for key in draft.tensors if key.endswith(name)]:
            shape = list(draft.tensors[found].shape)
            if len(shape) > 1:
                shape[1] = _choose(rng, _SIDES)
                draft.tensors[found] = _fill(rng, draft, "F32", shape)


def spoil_numbers(rng: np.random.Generator, draft: Draft) -> None:
    """Write numbers that are none, or far too large, into a tensor."""
    name = _pick(rng, draft)
    if name is not None and draft.tensors[name].dtype == "F32" and draft.tensors[name].data:
        data = bytearray(draft.tensors[name].data)
        value = rng.choice([np.nan, np.inf, -np.inf, 1e38, -3e38, 7e4, 1e-45])
        at = 4 * int(rng.integers(len(data) // 4))
        data[at : at + 4] = struct.pack("<f", value)
        draft.tensors[name].data = bytes(data)


def change_metadata(rng: np.random.Generator, draft: Draft) -> None:
    """Write what no one expects into the metadata, or something else in its place."""
    if rng.random() < 0.2:
        draft.metadata = _choose(
            rng, (None, [], 1, "text", {"a": 1}, {"a": None}, {"a": {"b": {}}})
        )
    elif isinstance(draft.metadata, dict):
        draft.metadata[_choose(rng, _KEYS)] = _choose(rng, _TEXTS)


def lie_in_header(rng: np.random.Generator, draft: Draft) -> None:
    """Let the header say something of a tensor that is not so, or not even of its type."""
    name = _pick(rng, draft)
    if name is None:
        return
    tensor = draft.tensors[name]
    size = len(tensor.data)
    match rng.integers(4):
        case 0:
            tensor.dtype = _choose(rng, tuple(_SIZES))
        case 1:
            lies = (
                [0, size],
                [size, 0],
                [-1, 0],
                [0],
                [],
                [0, 1, 2],
                [0, 2**70],
                [0.5, 1],
                ["0", 1],
            )
            tensor.offsets = _choose(rng, lies)
        case 2:
            lies = ([-1], [2**63, 2], [2**32] * 2, [1.5], ["1"], [None], [1] * 5000, [True], [[1]])
            tensor.shape = _choose(rng, lies)
        case _:
            tensor.shape = tensor.shape[::-1]


def cut_short(rng: np.random.Generator, content: bytes) -> bytes:
    """Return the beginning of a file."""
    return content[: rng.integers(len(content) + 1)]


def flip_bits(rng: np.random.Generator, content: bytes) -> bytes:
    """Return a file with some bits of its header, or of any part, turned over."""
    data = bytearray(content)
    end = len(data) if rng.random() < 0.3 else min(len(data), 4000)
    for _ in range(int(rng.integers(1, 9))):
        if end:
            data[rng.integers(end)] ^= 1 << int(rng.integers(8))
    return bytes(data)


def insert_bytes(rng: np.random.Generator, content: bytes) -> bytes:
    """Return a file with bytes too many at some place."""
    at = int(rng.integers(min(len(content), 6000) + 1))
    return content[:at] + rng.bytes(int(rng.integers(1, 40))) + content[at:]


def change_header_length(rng: np.random.Generator, content: bytes) -> bytes:
    """Return a file whose first eight bytes name another length of its header."""
    length = int(rng.choice([0, 1, 2, 8, 100, 10**8, 2**31, 2**62], replace=True))
    return struct.pack("<Q", length) + content[8:]


def nest_header(rng: np.random.Generator, content: bytes) -> bytes:
    """Return a file whose header is one bracket in another."""
    text = _choose(rng, (b"[", b'{"a":', b'{"__metadata__":{"a":')) * int(
        rng.choice([10, 1000, 10**5])
    )
    return struct.pack("<Q", len(text)) + text


def repeat_names(rng: np.random.Generator, content: bytes) -> bytes:
    """Return a file whose header names its first tensor twice."""
    length = struct.unpack("<Q", content[:8])[0]
    text = content[8 : 8 + length]
    first = text.find(b'"dtype"')
    start = text.rfind(b'"', 0, text.rfind(b'"', 0, first)) if first > 0 else -1
    end = text.find(b"}", first) + 1
    if start < 0 or not end:
        return content
    twice = text[:-1] + b", " + text[start:end] + b"}"
    return struct.pack("<Q", len(twice)) + twice + content[8 + length :]


def replace_all(rng: np.random.Generator, content: bytes) -> bytes:
    """Return something else altogether."""
    others = (b"", b"\0" * 8, b"\xff" * 64, b"PK\3\4" + content[:500], b"\x80\2}q\0.", b"<html>")
    return _choose(rng, (*others, rng.bytes(2000)))


DRAFT_CHANGES: tuple[Callable[[np.random.Generator, Draft], None], ...] = (
    *(drop_tensors, rename_tensor, move_level, change_prefix, mix_layouts, add_tensors),
    *(change_type, change_shape, change_kernels, change_inputs, spoil_numbers),
    *(change_metadata, lie_in_header),
)
BYTE_CHANGES: tuple[Callable[[np.random.Generator, bytes], bytes], ...] = (
    *(cut_short, flip_bits, insert_bytes, change_header_length, nest_header, repeat_names),
    replace_all,
)
