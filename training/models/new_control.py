"""Controls of a base: fresh at the start of a run, or from a file."""

from pathlib import Path

import torch
from diffusers import ControlNetModel

from local_control.adapter import Adapter, Kind
from local_control.checkpoint import AdapterFile, AdapterFileError, read_adapter
from local_control.control_file import ControlFile
from local_control.controlnet import ControlNetFile, read_controlnet
from local_control.layout import compare_shapes

from .bases import Base
from .controls import AdapterControl, Control, ControlNetControl

_IN_FOLDER = "diffusion_pytorch_model.safetensors"


def new_adapter(
    base: Base, channels: int, kind: Kind | None, seed: int, start_from: Path | None = None
) -> AdapterControl:
    """Return an adapter for a base, which reads conditions of `channels`.

    kind: None for the base's usual one. start_from: a file of weights to begin with; without it
    they are fresh, and `seed` determines them.

    Raises:
        AdapterFileError, BaseModelError: it does not fit the base or the condition.
    """
    torch.manual_seed(seed)
    if start_from is None:
        return AdapterControl(Adapter(base.adapter_config(kind, channels)))
    file = read_adapter(start_from)
    base.check_fit(file.config, start_from.name)
    if kind not in (None, file.config.kind):
        raise AdapterFileError(
            f"{start_from} is a {file.config.kind} adapter, but --adapter_type is {kind}; use auto."
        )
    if file.in_channels != channels:
        raise AdapterFileError(
            f"{start_from} reads {file.in_channels} channels, but the conditions of this "
            f"run have {channels}."
        )
    return AdapterControl(file.build().float().train().requires_grad_(True))


def new_controlnet(base: Base, seed: int, start_from: Path | None = None) -> ControlNetControl:
    """Return a ControlNet for a base; to be asked for before the base's UNet is rounded.

    start_from: its file, or diffusers' folder of it; without it the weights are those of the base's
    UNet, and `seed` determines the rest.

    Raises:
        AdapterFileError: it does not fit the base.
    """
    torch.manual_seed(seed)
    if start_from is None:
        network = ControlNetModel.from_unet(base.unet)
    else:
        path = start_from / _IN_FOLDER if start_from.is_dir() else start_from
        network = _build_controlnet(read_controlnet(path), base, start_from.name)
    return ControlNetControl(network.float().train().requires_grad_(True))


def check_control(file: ControlFile, base: Base, name: str) -> None:
    """AdapterFileError if the control `name` is not of this base's shape."""
    if isinstance(file, AdapterFile):
        base.check_fit(file.config, name)
    else:
        _check_controlnet(file, base, name)


def load_control(file: ControlFile, base: Base, name: str) -> Control:
    """Return the control of a file, called `name` in messages, for sampling with a base.

    Raises:
        AdapterFileError: it does not fit the base.
    """
    if isinstance(file, AdapterFile):
        base.check_fit(file.config, name)
        return AdapterControl(file.build().float())
    network = _build_controlnet(file, base, name)
    return ControlNetControl(network.float().eval().requires_grad_(False))


def _build_controlnet(file: ControlNetFile, base: Base, name: str) -> ControlNetModel:
    """The base's ControlNet with the weights of a file, in the file's precision."""
    network = _check_controlnet(file, base, name)
    network.load_state_dict(file.tensors, assign=True)
    return network


def _check_controlnet(file: ControlNetFile, base: Base, name: str) -> ControlNetModel:
    """The shape of the base's ControlNet, without weights, if the file has all of them."""
    with torch.device("meta"):
        network = ControlNetModel.from_unet(base.unet, load_weights_from_unet=False)
    expected = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    compare_shapes(file.shapes(), expected, name, "a ControlNet for this base")
    return network
