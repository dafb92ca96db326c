"""The adapter at the start of a run: fresh, or from a file."""

from pathlib import Path

import torch

from local_control.adapter import Adapter, Kind
from local_control.checkpoint import AdapterFileError, read_adapter

from .bases import Base


def new_adapter(
    base: Base, channels: int, kind: Kind | None, seed: int, start_from: Path | None = None
) -> Adapter:
    """Return an adapter for a base, which reads conditions of `channels`.

    kind: None for the base's usual one. start_from: a file of weights to begin with; without it
    they are fresh, and `seed` determines them.

    Raises:
        AdapterFileError, BaseModelError: it does not fit the base or the condition.
    """
    torch.manual_seed(seed)
    if start_from is None:
        return Adapter(base.adapter_config(kind, channels))
    file = read_adapter(start_from)
    base.check_fit(file.config, start_from.name)
    if kind not in (None, file.config.kind):
        raise AdapterFileError(
            f"{start_from} is a {file.config.kind} adapter, but --adapter_type is {kind}; use auto."
        )
    if file.config.in_channels != channels:
        raise AdapterFileError(
            f"{start_from} reads {file.config.in_channels} channels, but the conditions of this "
            f"run have {channels}."
        )
    return file.build().float().train().requires_grad_(True)
