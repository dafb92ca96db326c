"""Files of a run's control, with metadata as the field writes it, or as a diffusers folder."""

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from local_control.checkpoint import METADATA_PREFIX, AdapterFile, to_diffusers
from local_control.control_file import ControlFile
from local_control.z0 import PredictionType

from ..config.run import TrainSettings
from ..data.condition import PICTURES
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


def describe_method(settings: TrainSettings) -> str:
    """Return how the control was trained, in a line."""
    method = "masked features" if settings.mask_features else "features never masked"
    if settings.z0_loss_weight:
        method += (
            f", z0 loss ({settings.edge}, weight {settings.z0_loss_weight:g}, "
            f"{settings.z0_loss_schedule}, mean over {settings.z0_loss_mean})"
        )
    if settings.decoded_loss_weight:
        method += f", decoded edges (weight {settings.decoded_loss_weight:g})"
    if settings.masked_condition_share:
        method += f", conditions blank outside by a share of {settings.masked_condition_share:g}"
    return method


def to_file(
    control: Control, settings: TrainSettings, base: Base, step: int | None = None
) -> ControlFile:
    """Return the control with metadata as the field writes it; step: None for the last one."""
    return control.file(describe(control, settings, base, step or settings.max_train_steps))


def describe(control: Control, settings: TrainSettings, base: Base, steps: int) -> dict[str, str]:
    """Return a control's metadata.

    It has no date, which would make files of equal runs differ, and no path.
    """
    family = base.family
    version, architecture = _NAMES.get(family, (family, family))
    base_name = Path(settings.pretrained_model_name_or_path).name
    ours = {
        "control": control.name,
        "condition": PICTURES
        if settings.conditioning_image_column
        else str(settings.made_condition()),
        "method": describe_method(settings),
        "base": base_name,
        "steps": str(steps),
        "paper": "arXiv 2602.01991",
    }
    field = {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.title": f"Local Control {ours['condition']}",
        "modelspec.architecture": f"{architecture}/{control.architecture}",
        "modelspec.implementation": "local_control",
        "modelspec.resolution": f"{settings.resolution}x{settings.resolution}",
        "modelspec.prediction_type": "v" if base.kind is PredictionType.V else "epsilon",
        "ss_network_module": control.module,
        "ss_base_model_version": version,
        "ss_sd_model_name": base_name,
        "ss_resolution": f"({settings.resolution}, {settings.resolution})",
        "ss_steps": str(steps),
        "ss_max_train_steps": str(settings.max_train_steps),
        "ss_batch_size_per_device": str(settings.train_batch_size),
        "ss_gradient_accumulation_steps": str(settings.gradient_accumulation_steps),
        "ss_learning_rate": f"{settings.learning_rate:g}",
        "ss_lr_scheduler": settings.lr_scheduler,
        "ss_lr_warmup_steps": str(settings.lr_warmup_steps),
        "ss_optimizer": settings.chosen_optimizer(),
        "ss_mixed_precision": settings.mixed_precision,
        "ss_seed": str(settings.seed),
    }
    return field | {METADATA_PREFIX + key: value for key, value in ours.items()}


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
