"""The adapter at the start of a run: fresh, or from a file."""

import torch

from local_control.adapter import Adapter
from local_control.checkpoint import AdapterFileError, read_adapter

from ..config.run import TrainSettings
from ..models.bases import Base


def new_adapter(base: Base, settings: TrainSettings) -> Adapter:
    """The adapter at the start: from a file, or fresh weights that the seed determines.

    Raises:
        AdapterFileError, BaseModelError: it does not fit the base or the condition.
    """
    torch.manual_seed(settings.seed)
    kind = None if settings.adapter_type == "auto" else settings.adapter_type
    path, channels = settings.adapter_model_name_or_path, settings.condition_channels()
    if path is None:
        return Adapter(base.adapter_config(kind, channels))
    file = read_adapter(path)
    base.check_fit(file.config, path.name)
    if kind not in (None, file.config.kind):
        raise AdapterFileError(
            f"{path} is a {file.config.kind} adapter, but --adapter_type is {kind}; use auto."
        )
    if file.config.in_channels != channels:
        raise AdapterFileError(
            f"{path} reads {file.config.in_channels} channels, but --condition "
            f"{settings.condition} has {channels}."
        )
    return file.build().float().train().requires_grad_(True)
