"""T2I-Adapters as a ComfyUI control: features are computed, gated and summed once per sampling.

A step then costs one addition a level, however many regions there are (each region whose strength
changes from step to step costs one of its own). Stock ControlNetApply nodes take the object as they
take ComfyUI's own.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar
from weakref import WeakKeyDictionary

import comfy.model_management
import comfy.utils
import torch
from comfy.controlnet import ControlBase, T2IAdapter
from torch import Tensor, nn

from ....local_control.adapter import AdapterConfig
from ....local_control.checkpoint import AdapterFile, parse_adapter
from ....local_control.family import told_family
from ....local_control.gating import gate_features
from ....local_control.masks import match_batch
from .family import INPUT_BLOCKS, check_family
from .region import Region, Timing
from .slots import Slots, hooks_of_previous, merge, of_previous
from .view import LATENT_FACTOR, Frame, frames_of

# As long as stock lists are, since stock controls align two lists at their starts.
_SLOTS = {"full": 12, "light": 12, "xl": 10}


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
    ) -> None:
        self.name = name
        self.config = config
        self.told_family = told_family
        # fp32 whatever the file holds: it runs once per sampling, so precision is free.
        self.network = network.float()

    @classmethod
    def from_file(cls, file: AdapterFile, name: str) -> "LoadedAdapter":
        """Our own network with the weights of a file."""
        return cls(file.build(), file.config, name, told_family(file.config, file.metadata))

    @classmethod
    def from_core(cls, control: T2IAdapter) -> "LoadedAdapter":
        """A copy of the network that ComfyUI's own loader has built, one for each such network.

        ComfyUI moves and casts the original whenever it samples with it, so it is not shared.
        """
        source = control.t2i_model
        if source not in cls._copies:
            config = parse_adapter(source.state_dict(), "This T2I-Adapter").config
            cls._copies[source] = cls(copy.deepcopy(source), config, "of Load ControlNet Model")
        return cls._copies[source]

    def features(self, condition: Tensor, height: int, width: int) -> list[Tensor]:
        """Features of an image [B,C,H,W] for a latent of height x width, one a level."""
        config = self.config
        to = config.unshuffle
        size = [-(-side * LATENT_FACTOR // to) * to for side in (width, height)]
        scaled = comfy.utils.common_upscale(condition, *size, "nearest-exact", "center")
        device = comfy.model_management.get_torch_device()
        scaled = scaled.to(device=device, dtype=torch.float32)
        if config.in_channels == 1:
            scaled = scaled.mean(1, keepdim=True)
        elif scaled.shape[1] == 1:
            scaled = scaled.expand(-1, 3, -1, -1)
        try:
            features = self.network.to(device)(scaled[:, : config.in_channels])
        finally:
            self.network.to(comfy.model_management.unet_offload_device())
        if isinstance(features, dict):  # ComfyUI's network: slots, deepest first
            slots = [*features.get("middle", []), *features["input"]]
            features = [feature for feature in reversed(slots) if feature is not None]
        return features


@dataclass(frozen=True, kw_only=True)
class AdapterRegion(Region):
    """A region whose control is an adapter; level_weights: one for each level."""

    adapter: LoadedAdapter

    def features(self, frame: Frame, batch: int) -> list[Tensor]:
        """Gated features for what is seen of the latent, [1 or batch,C,h,w] a level."""
        match_batch(self.condition, batch, "condition image")
        condition = self.condition
        if not frame.is_whole:
            condition = frame.show(condition, "nearest-exact")
        features = self.adapter.features(condition, *frame.size)
        weights = [w * self.strength for w in self.level_weights or [1.0] * len(features)]
        if self.mask is None:
            return [feature * weight for feature, weight in zip(features, weights, strict=True)]
        match_batch(self.mask, batch)
        mask = frame.show(self.mask, "area").to(features[0].device)
        return gate_features(features, mask, weights)


class AdapterControl(ControlBase):
    """The control object of one or several adapter regions."""

    def __init__(self, adapter: LoadedAdapter, regions: Sequence[AdapterRegion] = ()) -> None:
        super().__init__()
        self.adapter = adapter
        self._regions = tuple(regions)
        self._timings: list[Timing] = []
        self._features: dict[tuple[object, ...], list[Tensor]] = {}
        self._slots: dict[tuple[object, ...], Slots] = {}

    @property
    def regions(self) -> tuple[AdapterRegion, ...]:
        """Our own regions, or the one that a stock Apply ControlNet node has set."""
        if self._regions or self.cond_hint_original is None:
            return self._regions
        return (
            AdapterRegion(
                adapter=self.adapter,
                condition=self.cond_hint_original,
                strength=self.strength,
                percent_range=self.timestep_percent_range,
            ),
        )

    def copy(self) -> "AdapterControl":
        """A control of the same adapter, as stock nodes ask for before they set a condition."""
        new = AdapterControl(self.adapter, self._regions)
        self.copy_to(new)
        return new

    def get_extra_hooks(self) -> list:
        """Those of earlier controls."""
        return hooks_of_previous(self)

    def inference_memory_requirements(self, dtype: torch.dtype) -> float:
        """Those of earlier controls, and the largest adapter: they compute one after another."""
        size = comfy.model_management.module_size
        own = max((size(region.adapter.network) for region in self.regions), default=0)
        return super().inference_memory_requirements(dtype) + own

    def pre_run(self, model: object, percent_to_timestep_function: Callable) -> None:
        """Called once before the first step."""
        super().pre_run(model, percent_to_timestep_function)
        self._forget()  # ComfyUI skips cleanup when a sampling fails or is interrupted
        for region in self.regions:
            check_family(region, model)
        self._timings = [Timing(r, percent_to_timestep_function) for r in self.regions]

    def cleanup(self) -> None:
        """Called once after the last step."""
        super().cleanup()
        self._forget()

    def _forget(self) -> None:
        self._features.clear()
        self._slots.clear()

    def get_control(
        self,
        x_noisy: Tensor,
        t: Tensor,
        cond: dict,
        batched_number: int,
        transformer_options: dict,
    ) -> Slots | None:
        """The features of all regions that act at `t`, added to those of earlier controls."""
        previous = of_previous(self, x_noisy, t, cond, batched_number, transformer_options)
        call = _Call(x_noisy, batched_number, transformer_options)
        constant, varying = [], []
        for index, timing in enumerate(self._timings):
            factor = timing.factor(float(t[0]))
            if factor is None:
                continue
            if timing.is_constant:
                constant.append((index, factor))
            else:
                varying.append((index, factor))
        if not constant and not varying:
            return previous
        out = previous
        if constant:
            # The same at every step, so it is added up once.
            key = (tuple(constant), *call.key)
            if key not in self._slots:
                self._slots[key] = self._sum(constant, call)
            out = merge(self._slots[key], out)
        for index, factor in varying:
            out = merge(self._sum([(index, factor)], call), out)
        return out

    def _sum(self, active: Sequence[tuple[int, float]], call: "_Call") -> Slots:
        slots: Slots = {}
        x = call.x
        for index, factor in active:
            features = [
                (f if factor == 1 else f * factor).to(device=x.device, dtype=x.dtype)
                for f in self._batched(index, call)
            ]
            slots = merge(to_slots(self.regions[index].adapter.config.kind, features), slots)
        return slots

    def _batched(self, index: int, call: "_Call") -> list[Tensor]:
        """The features of a region for all that is batched together, [1 or B,C,h,w] a level."""
        region, batch = self.regions[index], len(call.x) // call.batched_number
        parts = []
        for frame in call.frames:
            key = (index, frame, batch)
            if key not in self._features:
                self._features[key] = region.features(frame, batch)
            parts.append(self._features[key])
        if len(set(call.frames)) == 1 and len(parts[0][0]) == 1:
            return parts[0]
        return [
            torch.cat([feature.expand(batch, -1, -1, -1) for feature in level])
            for level in zip(*parts, strict=True)
        ]


class _Call:
    """What a call of `get_control` is about, apart from the noise level."""

    def __init__(self, x: Tensor, batched_number: int, transformer_options: dict) -> None:
        self.x = x
        self.batched_number = batched_number
        self.frames = frames_of(x, batched_number, transformer_options)
        self.key = (tuple(self.frames), tuple(x.shape), batched_number, x.dtype)


def to_slots(kind: str, features: Sequence[Tensor]) -> Slots:
    """Features a level -> ComfyUI's lists, which the UNet empties from their ends."""
    blocks = INPUT_BLOCKS[kind]
    row: list[Tensor | None] = [None] * _SLOTS[kind]
    for block, feature in zip(blocks, features, strict=False):
        row[block] = feature
    return {"input": row[::-1], "middle": list(features[len(blocks) :]), "output": []}
