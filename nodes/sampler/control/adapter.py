"""T2I-Adapters as a ComfyUI control: features are computed, gated and summed once per sampling.

A step then costs one addition a level, however many regions there are (each region whose strength
changes from step to step costs one of its own). Stock ControlNetApply nodes take the object as they
take ComfyUI's own.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import ClassVar
from weakref import WeakKeyDictionary

import comfy.model_management
import torch
from comfy.controlnet import T2IAdapter
from torch import Tensor, nn

from ....local_control.adapter import AdapterConfig
from ....local_control.checkpoint import AdapterFile, family_name, parse_adapter
from ....local_control.gating import gate_features
from ....local_control.region_mask import in_window, match_batch
from ....local_control.view import Size, View, cover
from .base import Acting, Call, Recent, RegionControl
from .hint import Hint
from .region import Region
from .slots import Slots, merge
from .view import LATENT_FACTOR

# Features and sums of so many views are kept: prompts and areas, or tiles.
_KEPT = 16
# Where the features of the four levels enter ComfyUI's UNet: input blocks counted from the first,
# and the middle block.
_INPUT_BLOCKS = {"full": (2, 5, 8, 11), "light": (2, 5, 8, 11), "xl": (3, 5, 8)}
# As long as stock lists are, since stock controls align two lists at their starts.
_SLOTS = {"full": 12, "light": 12, "xl": 10}
_CHANNEL_MULTIPLES = {"full": [1, 2, 4, 4], "light": [1, 2, 4, 4], "xl": [1, 2, 4]}


class LoadedAdapter:
    """An adapter's network, which is on the GPU only while it computes.

    As ComfyUI's own T2IAdapter has it: it runs once per sampling, and its plain layers are nothing
    that the memory manager could load in part.
    """

    # Of networks that ComfyUI's own loader has built, for as long as they live.
    _copies: ClassVar[WeakKeyDictionary[nn.Module, "LoadedAdapter"]] = WeakKeyDictionary()

    def __init__(self, network: nn.Module, config: AdapterConfig, name: str) -> None:
        self.name = name
        self.config = config
        # fp32 whatever the file holds: it runs once per sampling, so precision is free.
        self.network = network.float()
        self._lock = Lock()

    @classmethod
    def from_file(cls, file: AdapterFile, name: str) -> "LoadedAdapter":
        """Our own network with the weights of a file."""
        return cls(file.build(), file.config, name)

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

    def features(self, condition: Tensor, size: Size, device: torch.device) -> list[Tensor]:
        """Features on `device` of an image [B,C,H,W] for a latent of `size` (h, w), one a level."""
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


@dataclass(frozen=True, kw_only=True)
class AdapterRegion(Region):
    """A region whose control is an adapter; level_weights: one for each level."""

    adapter: LoadedAdapter

    def features(self, view: View, count: int, device: torch.device) -> list[Tensor] | None:
        """Gated features for what is seen of the picture; None if it is all outside the region.

        count: latents, whichever a window shows -> [1 or count,C,h,w] a level.
        """
        match_batch(self.condition, count, "condition image")
        gate = self.gate.seen(view, count)
        if not gate.any():
            return None
        condition = self.condition
        if not view.is_whole:
            condition = view.show(condition, "nearest-exact", LATENT_FACTOR)
        features = self.adapter.features(condition, view.size, device)
        weights = [w * self.strength for w in self.level_weights or [1.0] * len(features)]
        return gate_features(features, gate.to(device), weights)


class AdapterControl(RegionControl[AdapterRegion]):
    """The control object of one or several adapter regions."""

    def __init__(
        self,
        adapter: LoadedAdapter,
        regions: Sequence[AdapterRegion] = (),
        hint: Hint | None = None,
    ) -> None:
        super().__init__(regions)
        self.adapter = adapter
        self._hint = hint or Hint(regions)
        self._features: Recent[list[Tensor] | None] = Recent(_KEPT)
        self._slots: Recent[Slots | None] = Recent(_KEPT)

    def _new(self) -> "AdapterControl":
        return AdapterControl(self.adapter, self._given, self._hint)

    def _show(self) -> Tensor | None:
        return self._hint.whole if self._given else None

    def _read(self, hint: Tensor) -> tuple[AdapterRegion, ...]:
        if self._given:
            return self._hint.read(hint)
        region = AdapterRegion(  # as a stock Apply ControlNet node has set it
            adapter=self.adapter,
            condition=hint,
            strength=self.strength,
            percent_range=self.timestep_percent_range,
        )
        return (region,)

    def _forget(self) -> None:
        self._features.forget()
        self._slots.forget()

    def inference_memory_requirements(self, dtype: torch.dtype) -> float:
        """Those of earlier controls, and the largest adapter: they compute one after another."""
        size = comfy.model_management.module_size
        own = max((size(region.adapter.network) for region in self.regions), default=0)
        return super().inference_memory_requirements(dtype) + own

    def pre_run(self, model: object, percent_to_timestep_function: Callable) -> None:
        """Called once before the first step."""
        super().pre_run(model, percent_to_timestep_function)
        for region in self.regions:
            check_family(region.adapter, model)

    def _add(self, regions: Sequence[AdapterRegion], acting: Acting, call: Call) -> Slots | None:
        constant = tuple(pair for pair in acting if self._timings[pair[0]].is_constant)
        found = None
        if constant:
            # The same at every step, so it is added up once.
            key = (constant, self.cond_hint, *call.key)
            found = self._slots.get_or(key, lambda: self._sum(regions, constant, call))
        for pair in acting:
            if pair not in constant:
                varying = self._sum(regions, (pair,), call)
                found = varying if found is None or varying is None else merge(varying, found)
        return found

    def _sum(self, regions: Sequence[AdapterRegion], acting: Acting, call: Call) -> Slots | None:
        """The features of regions, times their factors, in ComfyUI's slots."""
        slots: Slots | None = None
        for index, factor in acting:
            features = self._of_call(regions, index, call)
            if features is not None:
                scaled = [f if factor == 1 else f * factor for f in features]
                slots = merge(to_slots(regions[index].adapter.config.kind, scaled), slots)
        return slots

    def _of_call(
        self, regions: Sequence[AdapterRegion], index: int, call: Call
    ) -> list[Tensor] | None:
        """The features of a region for all that is batched together, [1 or B,C,h,w] a level."""
        x, region = call.x, regions[index]
        parts = []
        for view in call.views:
            window, count = view.window, call.batch
            if window is not None:  # once for all latents, of which each window shows some
                view, count = replace(view, window=None), window.total
            key = (index, self.cond_hint, view, count, x.device)
            features = self._features.get_or(
                key, lambda v=view, n=count: region.features(v, n, x.device)
            )
            if features is not None and window is not None:
                features = [in_window(feature, window, call.batch) for feature in features]
            parts.append(features)
        some = next((part for part in parts if part is not None), None)
        if some is None:
            return None
        if len(set(call.views)) == 1 and len(some[0]) == 1:
            return [feature.to(x) for feature in some]
        return [
            torch.cat([_rows(None if part is None else part[i], level, call) for part in parts])
            for i, level in enumerate(some)
        ]


def _rows(feature: Tensor | None, like: Tensor, call: Call) -> Tensor:
    """The features of one prompt, [batch,C,h,w] in the latent's type; none are zeros."""
    if feature is None:
        feature = torch.zeros_like(like[:1])
    return feature.to(call.x).expand(call.batch, -1, -1, -1)


def to_slots(kind: str, features: Sequence[Tensor]) -> Slots:
    """Features a level -> ComfyUI's lists, which the UNet empties from their ends."""
    blocks = _INPUT_BLOCKS[kind]
    row: list[Tensor | None] = [None] * _SLOTS[kind]
    for block, feature in zip(blocks, features, strict=False):
        row[block] = feature
    return {"input": row[::-1], "middle": list(features[len(blocks) :]), "output": []}


def check_family(adapter: LoadedAdapter, model: object) -> None:
    """Raise ValueError if the model's UNet has no place for this adapter's features."""
    config = adapter.config
    unet = getattr(getattr(model, "model_config", None), "unet_config", {})
    width, multiples = unet.get("model_channels"), list(unet.get("channel_mult", []))
    expected = _CHANNEL_MULTIPLES[config.kind]
    if width == config.channels[0] and multiples == expected:
        return
    found = type(getattr(model, "model_config", model)).__name__
    raise ValueError(
        f"The adapter {adapter.name} is for {family_name(config)}, but the model is {found}; load "
        f"an adapter for {found}, or a checkpoint of the adapter's family."
    )
