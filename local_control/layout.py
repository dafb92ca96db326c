"""The layouts of adapter files: which tensor is which, and the network that they imply.

The flat (TencentARC) layout numbers the residual blocks of a full or XL adapter through
(body.BLOCK); diffusers nests them in levels (body.LEVEL.resnets.BLOCK). In a light adapter both
nest them, as body.LEVEL.body.BLOCK and body.LEVEL.resnets.BLOCK.
"""

import re
from collections.abc import Mapping

import torch

from .adapter import Adapter, AdapterConfig

Shapes = Mapping[str, tuple[int, ...]]

_LEVELS = 4
_WRAPPERS = ("module.", "adapter.", "t2i_adapter.")
# What no adapter comes near; files beyond it are refused before anything is built.
_MOST_TENSORS = 1000
_LONGEST_NAME = 200
_MOST_DIMENSIONS = 4
_MOST_BLOCKS = 16
_WIDEST = 65536
_KERNELS = (1, 3, 5, 7)


class AdapterFileError(ValueError):
    """A file of an adapter or a ControlNet that cannot be used; it says why and what to do."""


def read_layout(shapes: Shapes, name: str) -> tuple[AdapterConfig, dict[str, str]]:
    """Return the network that tensors of any layout make up, and their names by flat names.

    shapes: of all tensors of a file, by name; name: the file's, for messages.

    Raises:
        AdapterFileError: they are no adapter, not all of one, or not of the shapes of one.
    """
    if len(shapes) > _MOST_TENSORS:
        raise _no_adapter(name, f"it has {len(shapes):,} tensors, and no adapter has so many")
    if any(len(key) > _LONGEST_NAME for key in shapes):
        raise _no_adapter(name, f"a name of its tensors is over {_LONGEST_NAME} characters long")
    if any(len(shape) > _MOST_DIMENSIONS for shape in shapes.values()):
        raise _no_adapter(name, f"a tensor of it has more than {_MOST_DIMENSIONS} dimensions")
    names = _to_flat(_unwrap(shapes), name)
    flat = {key: tuple(shapes[original]) for key, original in names.items()}
    try:
        config = _infer_config(flat, name)
    except KeyError as missing:
        raise _no_adapter(name, f"it has no tensor {missing}") from None
    if config.blocks > _MOST_BLOCKS:
        raise _no_adapter(name, f"it has {config.blocks} blocks a level, and adapters have a few")
    with torch.device("meta"):
        expected = {key: tuple(v.shape) for key, v in Adapter(config).state_dict().items()}
    what = f"a {config.kind} adapter with channels {config.channels}"
    compare_shapes(flat, expected, name, what)
    return config, {key: names[key] for key in expected}


def _no_adapter(name: str, why: str) -> AdapterFileError:
    return AdapterFileError(
        f"{name} is no T2I-Adapter: {why}. Load a T2I-Adapter (full, light or XL); ControlNets and "
        f"style adapters have loaders of their own."
    )


def quote_key(key: str) -> str:
    """Return a name from a file as it may stand in a sentence: short, and all of it readable."""
    return key if re.fullmatch(r"[\w.-]{1,80}", key, re.ASCII) else ascii(key[:80])


def compare_shapes(found: Shapes, expected: Shapes, name: str, what: str) -> None:
    """Raise AdapterFileError unless a file's tensors are exactly those of `what` it is to be."""
    missing = sorted(expected.keys() - found.keys())
    if missing:
        raise AdapterFileError(
            f"{name} lacks {len(missing)} of the {len(expected)} tensors of {what}, first "
            f"{missing[0]}; the file is incomplete or another kind of model: export or download it "
            f"again."
        )
    for key, shape in expected.items():
        if found[key] != shape:
            raise AdapterFileError(
                f"{name} has {key} of shape {found[key]}, but {what} needs {shape}; export or "
                f"download it again, or load another one."
            )
    unexpected = sorted(found.keys() - expected.keys())
    if unexpected:
        raise AdapterFileError(
            f"{name} has {len(unexpected)} tensors that {what} does not know, first "
            f"{quote_key(unexpected[0])}; it is another kind of model."
        )


def _unwrap(shapes: Shapes) -> dict[str, str]:
    """Return names without the wrappers (DDP's module., diffusers' adapter.) before all of them."""
    names = {key: key for key in shapes}
    while prefix := next(
        (w for w in _WRAPPERS if names and all(key.startswith(w) for key in names)), None
    ):
        names = {key.removeprefix(prefix): original for key, original in names.items()}
    return names


def _to_flat(names: Mapping[str, str], file: str) -> dict[str, str]:
    """Return the flat names of either layout's; what is flat already passes through."""
    if _is_light(names):
        out = {key.replace(".resnets.", ".body."): value for key, value in names.items()}
    else:
        numbers = (re.match(r"body\.[0-9]{1,3}\.resnets\.([0-9]{1,3})\.", key) for key in names)
        blocks = 1 + max((int(match[1]) for match in numbers if match), default=-1)
        out = {_number_through(key, blocks): value for key, value in names.items()}
    if len(out) < len(names):
        raise _no_adapter(file, "several of its tensors are the same one in two layouts")
    return out


def _number_through(key: str, blocks: int) -> str:
    """Return the flat name of a full or XL adapter's tensor; blocks: a level, 0 if flat."""
    match = re.match(r"body\.([0-9]{1,3})\.(?:resnets\.([0-9]{1,3})\.)?(.+)", key, re.DOTALL)
    if match is None or not blocks:
        return key
    return f"body.{int(match[1]) * blocks + int(match[2] or 0)}.{match[3]}"


def _is_light(names: Mapping[str, object]) -> bool:
    return any(key.endswith(".out_conv.weight") for key in names)


def _infer_config(flat: Shapes, name: str) -> AdapterConfig:
    """Return the network behind flat names; KeyError names what is missing."""
    return _infer_light(flat, name) if _is_light(flat) else _infer_full(flat, name)


def _infer_light(flat: Shapes, name: str) -> AdapterConfig:
    levels = _count(flat, r"body\.[0-9]{1,3}\.out_conv\.weight")
    if levels > _LEVELS:
        raise _no_adapter(name, f"it has {levels} levels, and an adapter has {_LEVELS}")
    keys = [f"body.{level}.out_conv.weight" for level in range(max(levels, 1))]
    widths = [_convolution(flat, key, name) for key in keys]
    if any(out != 4 * narrow for out, narrow, _ in widths):
        raise _no_adapter(name, "its levels do not widen fourfold as those of a light adapter")
    _, inputs, _ = _convolution(flat, "body.0.in_conv.weight", name)
    return AdapterConfig(
        kind="light",
        in_channels=_condition_channels(inputs, 64, name),
        channels=tuple(out for out, _, _ in widths),
        blocks=_count(flat, r"body\.0\.body\.[0-9]{1,3}\.block1\.weight"),
        kernel=3,
    )


def _infer_full(flat: Shapes, name: str) -> AdapterConfig:
    _, inputs, _ = _convolution(flat, "conv_in.weight", name)
    _, _, kernel = _convolution(flat, "body.0.block2.weight", name)
    blocks = -(-_count(flat, r"body\.[0-9]{1,3}\.block1\.weight") // _LEVELS)
    firsts = [f"body.{level * blocks}.block1.weight" for level in range(_LEVELS)]
    # As stock ComfyUI tells them apart: an XL adapter unshuffles by 16.
    xl = inputs in (256, 768)
    return AdapterConfig(
        kind="xl" if xl else "full",
        in_channels=_condition_channels(inputs, 256 if xl else 64, name),
        channels=tuple(_convolution(flat, key, name)[0] for key in firsts),
        blocks=blocks,
        kernel=kernel,
        strided=any(key.endswith(".down_opt.op.weight") for key in flat),
    )


def _count(flat: Shapes, pattern: str) -> int:
    return sum(bool(re.fullmatch(pattern, key)) for key in flat)


def _convolution(flat: Shapes, key: str, name: str) -> tuple[int, int, int]:
    """Return outputs, inputs and kernel of a convolution's weight; KeyError if there is none."""
    shape = flat[key]
    if (
        len(shape) != 4
        or shape[2] != shape[3]
        or shape[2] not in _KERNELS
        or not all(0 < size <= _WIDEST for size in shape)
    ):
        raise AdapterFileError(
            f"{name} has {key} of shape {shape}, but an adapter's weights are (outputs, inputs, k, "
            f"k) with a k of 1, 3, 5 or 7 and no size of zero or over {_WIDEST:,}; the file is "
            f"damaged or another kind of model: export or download it again."
        )
    return shape[0], shape[1], shape[2]


def _condition_channels(inputs: int, each: int, name: str) -> int:
    """Return the condition's channels, of which each gives the first convolution `each` inputs."""
    channels, rest = divmod(inputs, each)
    if rest or channels not in (1, 3):
        raise AdapterFileError(
            f"{name} reads {inputs} channels of an unshuffled condition, which is neither a gray "
            f"one ({each}) nor an RGB one ({3 * each}); it is another kind of model."
        )
    return channels
