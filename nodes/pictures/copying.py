"""A network of ComfyUI's again, on the CPU."""

import copy
import dis
from collections.abc import Iterator
from functools import cache
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn

# What can be hung on a layer from outside and owns nothing.
_PLAIN = (bool, int, float, str, torch.dtype, type(None))


def copy_to_cpu(network: nn.Module) -> nn.Module:
    """Return a copy in fp32 on the CPU, without another one where the network is.

    It has the parameters and buffers, and of each layer what its class has given it. ComfyUI's
    memory manager hangs handles on the layers of a network in use, under names that change from
    version to version; a copy of them would free the memory of the original.
    """
    copied: dict[int, Any] = {}
    for tensor in (*network.parameters(), *network.buffers()):
        value = _to_cpu(tensor)
        is_parameter = isinstance(tensor, nn.Parameter)
        copied[id(tensor)] = nn.Parameter(value, requires_grad=False) if is_parameter else value
    modules = list(network.modules())
    # First all of them empty, so that they find each other when they are filled.
    copied |= {id(module): type(module).__new__(type(module)) for module in modules}
    for module in modules:
        own = dict(_own_attributes(module))
        copied |= {id(tensor): _to_cpu(tensor) for tensor in _loose(own.values(), copied)}
        vars(copied[id(module)]).update(copy.deepcopy(own, copied))
    return copied[id(network)]


def _to_cpu(tensor: Tensor) -> Tensor:
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to("cpu", dtype, copy=True)


def _own_attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Return the attributes of a layer but for those that something else has hung on it."""
    own = _names_set_by(type(module))
    for name, value in vars(module).items():
        if name in own or isinstance(value, _PLAIN):
            yield name, value


def _loose(values: Any, known: dict[int, Any]) -> Iterator[Tensor]:
    """Return the tensors in attributes and their containers that are not known yet."""
    for value in values:
        if isinstance(value, Tensor):
            if id(value) not in known:
                yield value
        elif isinstance(value, list | tuple):
            yield from _loose(value, known)
        elif isinstance(value, dict):
            yield from _loose(value.values(), known)


@cache
def _names_set_by(kind: type[nn.Module]) -> frozenset[str]:
    """Return the names that methods of a class assign to, and those that all modules have."""
    names = set(vars(nn.Module()))
    functions = (member for base in kind.__mro__ for member in vars(base).values())
    codes = [function.__code__ for function in functions if hasattr(function, "__code__")]
    while codes:
        code = codes.pop()
        names |= {i.argval for i in dis.get_instructions(code) if i.opname == "STORE_ATTR"}
        codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return frozenset(names)
