"""An adapter's network as the graph has it: from a file, or from ComfyUI's own loader."""

import copy
from collections.abc import Mapping
from threading import Lock
from typing import ClassVar
from weakref import WeakKeyDictionary

import comfy.model_management
import torch
from comfy.controlnet import T2IAdapter
from torch import Tensor, nn

from ....local_control.adapter import AdapterConfig
from ....local_control.checkpoint import AdapterFile, parse_adapter
from ....local_control.family import told_family
from ....local_control.view import Size, cover
from .view import LATENT_FACTOR


class LoadedAdapter:
    """An adapter's network, which is on the GPU only while it computes.

    As ComfyUI's own T2IAdapter has it: it runs once per sampling, and its plain layers are nothing
    that the memory manager could load in part.
    """

    # Of networks that ComfyUI's own loader has built, for as long as they live.
    _copies: ClassVar[WeakKeyDictionary[nn.Module, "LoadedAdapter"]] = WeakKeyDictionary()

    def __init__(
        self,
        network: nn.Module,
        config: AdapterConfig,
        name: str,
        told_family: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.config = config
        self.told_family = told_family
        self.metadata = metadata or {}
        # fp32 whatever the file holds: it runs once per sampling, so precision is free.
        self.network = network.float()
        self._lock = Lock()

    @classmethod
    def from_file(cls, file: AdapterFile, name: str) -> "LoadedAdapter":
        """Return our own network with the weights of a file."""
        family = told_family(file.config, file.metadata)
        return cls(file.build(), file.config, name, family, file.metadata)

    @classmethod
    def from_core(cls, control: T2IAdapter) -> "LoadedAdapter":
        """Return a copy of a network of ComfyUI's own loader, one for each such network.

        ComfyUI moves and casts the original whenever it samples with it, so it is not shared.
        """
        source = control.t2i_model
        if source not in cls._copies:
            config = parse_adapter(source.state_dict(), "This T2I-Adapter").config
            cls._copies[source] = cls(copy.deepcopy(source), config, "of Load ControlNet Model")
        return cls._copies[source]

    def features(self, condition: Tensor, size: Size, device: torch.device) -> list[Tensor]:
        """Return features on `device` of an image [B,C,H,W] for a latent of `size`, one a level."""
        config = self.config
        to = config.unshuffle
        padded = (-(-size[0] * LATENT_FACTOR // to) * to, -(-size[1] * LATENT_FACTOR // to) * to)
        scaled = cover(condition, padded, "nearest-exact").to(device=device, dtype=torch.float32)
        if config.in_channels == 1:
            scaled = scaled.mean(1, keepdim=True)
        elif scaled.shape[1] == 1:
            scaled = scaled.expand(-1, 3, -1, -1)
        with self._lock:  # several GPUs ask for it at once
            try:
                features = self.network.to(device)(scaled[:, : config.in_channels])
            finally:
                self.network.to(comfy.model_management.unet_offload_device())
        if isinstance(features, dict):  # ComfyUI's network: slots, deepest first
            slots = [*features.get("middle", []), *features["input"]]
            features = [feature for feature in reversed(slots) if feature is not None]
        return features
