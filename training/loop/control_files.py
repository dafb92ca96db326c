"""Files of a run's control, with metadata as the field writes it, or as a diffusers folder."""

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from local_control.checkpoint import METADATA_PREFIX, AdapterFile, to_diffusers
from local_control.control_file import ControlFile
from local_control.z0 import PredictionType

from ..data.files import write_tensors, write_text
from ..models.bases import Base
from ..models.controls import Control

# Family -> what kohya's scripts call the base, and modelspec its architecture.
_NAMES = {
    "SD1.5": ("sd_v1", "stable-diffusion-v1"),
    "SD2": ("sd_v2", "stable-diffusion-v2-512"),
    "SD2 v": ("sd_v2_v", "stable-diffusion-v2-768-v"),
    "SDXL": ("sdxl_base_v1-0", "stable-diffusion-xl-v1-base"),
}


def to_file(control: Control, base: Base, about: Mapping[str, str], step: int) -> ControlFile:
    """Return the control at a step, with metadata as the field writes it.

    about: metadata of the run's settings.
    """
    return control.file(describe(control, base, about, step))


def describe(control: Control, base: Base, about: Mapping[str, str], step: int) -> dict[str, str]:
    """Return a control's metadata: that of the run's settings, and what its base and kind say."""
    family = base.family
    version, architecture = _NAMES.get(family, (family, family))
    return {
        **about,
        METADATA_PREFIX + "control": control.name,
        METADATA_PREFIX + "steps": str(step),
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"{architecture}/{control.architecture}",
        "modelspec.implementation": "local_control",
        "modelspec.prediction_type": "v" if base.kind is PredictionType.V else "epsilon",
        "ss_network_module": control.module,
        "ss_base_model_version": version,
        "ss_steps": str(step),
    }


def write_file(control: ControlFile, path: Path) -> None:
    """Write one file in fp16, an adapter in the flat layout and a ControlNet in diffusers'.

    Raises:
        WriteError: the disk is full; nothing is left over.
    """
    write_tensors(path, _half(control.tensors), control.metadata)


def write_diffusers(control: ControlFile, folder: Path) -> None:
    """Write a folder that diffusers' T2IAdapter or ControlNetModel opens, in fp16.

    Raises:
        WriteError: the disk is full.
        AdapterFileError: diffusers has no such network, or the file does not tell which it is.
    """
    if isinstance(control, AdapterFile):
        config, tensors = to_diffusers(control)
    else:
        config, tensors = control.diffusers_config(folder.name), control.tensors
    path = folder / "diffusion_pytorch_model.safetensors"
    write_tensors(path, _half(tensors), {"format": "pt"})
    write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")


def _half(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().half() for key, value in tensors.items()}
