"""What controls a base: an adapter or a ControlNet, to which the trainer speaks in one way.

Both act through arguments of the UNet, gated by the mask at the resolution of each feature map. An
adapter computes them from the condition alone, a ControlNet anew for every noisy latent.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from torch import Tensor

from local_control.checkpoint import AdapterFile
from local_control.control_file import ControlFile
from local_control.controlnet import DIFFUSERS_CONFIG, ControlNetFile
from local_control.gating import gate_features

Added = dict[str, Tensor] | None
# z_t [B,C,h,w], timestep [B], context [B,T,D] and what SDXL adds -> arguments of the UNet.
Acting = Callable[[Tensor, Tensor, Tensor, Added], dict[str, Any]]


@dataclass(frozen=True)
class Control(ABC):
    """A kind of control around the network that learns, perhaps wrapped for several processes.

    name: of its files and of its part of a state. architecture: as metadata calls it. module: where
    the network's code is.
    """

    name: ClassVar[str]
    architecture: ClassVar[str]
    module: ClassVar[str]

    network: Any

    def around(self, network: Any) -> Self:
        """Return the same kind of control around another network: its average, or a wrapper."""
        return replace(self, network=network)

    @abstractmethod
    def on(self, condition: Tensor, mask: Tensor | None = None, strength: float = 1.0) -> Acting:
        """Return control by a condition [B,1 or 3,H,W], gated by a mask [B,1,H,W] if there is one.

        It acts on batches of a multiple of B.
        """

    @abstractmethod
    def file(self, metadata: dict[str, str]) -> ControlFile:
        """Return the network as a file holds it."""

    @abstractmethod
    def save_memory(self) -> None:
        """Compute features again in the backward pass, where they take much memory."""


@dataclass(frozen=True)
class AdapterControl(Control):
    """Control by the features of a T2I-Adapter, which are the same for all timesteps."""

    name: ClassVar[str] = "adapter"
    architecture: ClassVar[str] = "t2i-adapter"
    module: ClassVar[str] = "local_control.adapter"

    def on(self, condition: Tensor, mask: Tensor | None = None, strength: float = 1.0) -> Acting:
        """Return control by a condition of the adapter's channels, computed now."""
        features = _gated(self.network(condition), mask)
        if strength != 1:
            features = [strength * feature for feature in features]

        def act(z_t: Tensor, timestep: Tensor, context: Tensor, added: Added) -> dict[str, Any]:
            # diffusers empties the list, and skips SDXL's last feature without a word unless it
            # has the whole batch.
            fresh = [_as_many(feature, z_t) for feature in features]
            return {"down_intrablock_additional_residuals": fresh}

        return act

    def file(self, metadata: dict[str, str]) -> AdapterFile:
        """Return the adapter as a file holds it."""
        return AdapterFile(self.network.config, self.network.state_dict(), metadata)

    def save_memory(self) -> None:
        """Do nothing: those of an adapter take little."""


@dataclass(frozen=True)
class ControlNetControl(Control):
    """Control by the maps of a ControlNet: one for each skip connection, and one for the middle."""

    name: ClassVar[str] = "controlnet"
    architecture: ClassVar[str] = "controlnet"
    module: ClassVar[str] = "diffusers.ControlNetModel"

    def on(self, condition: Tensor, mask: Tensor | None = None, strength: float = 1.0) -> Acting:
        """Return control by a condition, gray or RGB, computed at every call."""
        rgb = condition.expand(-1, 3, -1, -1)

        def act(z_t: Tensor, timestep: Tensor, context: Tensor, added: Added) -> dict[str, Any]:
            skips, middle = self.network(
                z_t,
                timestep,
                encoder_hidden_states=context,
                controlnet_cond=_as_many(rgb, z_t),
                conditioning_scale=strength,
                added_cond_kwargs=added,
                return_dict=False,
            )
            gate = None if mask is None else _as_many(mask, z_t)
            *skips, middle = _gated([*skips, middle], gate)
            return {
                "down_block_additional_residuals": skips,
                "mid_block_additional_residual": middle,
            }

        return act

    def file(self, metadata: dict[str, str]) -> ControlNetFile:
        """Return the ControlNet as a file holds it, its configuration among the metadata."""
        known = {key: v for key, v in self.network.config.items() if not key.startswith("_")}
        config = {DIFFUSERS_CONFIG: json.dumps(known, sort_keys=True)}
        return ControlNetFile(self.network.state_dict(), metadata | config)

    def save_memory(self) -> None:
        """Compute features again, as the UNet does with its own."""
        self.network.enable_gradient_checkpointing()


def _gated(features: Sequence[Tensor], mask: Tensor | None) -> list[Tensor]:
    if mask is None:
        return list(features)
    return [feature for feature in gate_features(features, mask) if feature is not None]


def _as_many(rows: Tensor, batch: Tensor) -> Tensor:
    """Rows [1 or B,...] again and again, as many as a batch of a multiple of B has."""
    if len(rows) == 1:
        return rows.expand(len(batch), -1, -1, -1)
    return rows.repeat(len(batch) // len(rows), 1, 1, 1) if len(rows) < len(batch) else rows
