"""T2I-Adapters as a ComfyUI control: features are computed, gated and summed once per sampling.

A step then costs one addition a level, however many regions there are (each region whose strength
changes from step to step costs one of its own). Stock ControlNetApply nodes take the object as they
take ComfyUI's own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import comfy.model_management
import torch
from comfy.model_base import BaseModel
from torch import Tensor

from ....local_control.gating import gate_features, stays_finite
from ....local_control.region_mask import RegionMask, in_window, match_batch
from ....local_control.view import View
from ...comfy_types import from_comfy_mask
from .advanced import AdvancedApply
from .call import Call
from .hint import Hint
from .loaded import LoadedAdapter
from .places import INPUT_BLOCKS, check_family
from .recent import Recent
from .region import Region
from .region_control import Acting, RegionControl
from .slots import Slots, merge
from .view import LATENT_FACTOR

# Features and sums of so many views are kept: prompts and areas, or tiles.
_KEPT = 16
# As long as stock lists are, since stock controls align two lists at their starts.
_SLOTS = {"full": 12, "light": 12, "xl": 10}


@dataclass(frozen=True, kw_only=True)
class AdapterRegion(Region):
    """A region whose control is an adapter; level_weights: one for each level."""

    adapter: LoadedAdapter

    def features(
        self, view: View, count: int, like: Tensor, precision: torch.dtype
    ) -> list[Tensor] | None:
        """Return gated features for what is seen of the picture; None if all of it is outside.

        count: latents, whichever a window shows -> [1 or count,C,h,w] a level, in the type and on
        the device of `like`. precision: the type that the model computes in.

        Raises:
            ValueError: they are beyond what that holds, at some step, or there are pictures for no
                batch.
        """
        match_batch(self.condition, count, "condition image")
        gate = self.gate.seen(view, count)
        if not gate.any():
            return None
        condition = self.condition
        if not view.is_whole:
            condition = view.show(condition, "nearest-exact", LATENT_FACTOR)
        features = self.adapter.features(condition, view.size, like.device)
        weights = [w * self.strength for w in self.level_weights or [1.0] * len(features)]
        gated = [f.to(like) for f in gate_features(features, gate.to(like.device), weights)]
        peak = max(map(abs, self.curve))
        if not all(stays_finite(feature, precision, peak) for feature in gated):
            where = f" of region {self.number}" if self.number else ""
            raise ValueError(
                f"The adapter {self.adapter.name}{where} gives numbers at strength "
                f"{self.strength * peak:g} that are too large for "
                f"{str(precision).removeprefix('torch.')}, and would make the picture black; "
                f"lower the strength, or load an adapter whose training has not diverged."
            )
        return gated


class AdapterControl(AdvancedApply, RegionControl[AdapterRegion]):
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
        new = AdapterControl(self.adapter, self._given, self._hint)
        new.stock_mask = self.stock_mask
        return new

    def _show(self) -> Tensor | None:
        return self._hint.whole if self._given else None

    def _read(self, hint: Tensor) -> tuple[AdapterRegion, ...]:
        if self._given:
            return self._hint.read(hint)
        mask = RegionMask.everywhere()
        if self.stock_mask is not None:
            mask = RegionMask(from_comfy_mask(self.stock_mask))
        region = AdapterRegion(  # as a stock Apply ControlNet node has set it
            adapter=self.adapter,
            condition=hint,
            mask=mask,
            strength=self.strength,
            percent_range=self.timestep_percent_range,
            number=0,
        )
        return (region,)

    def _forget(self) -> None:
        self._features.forget()
        self._slots.forget()

    def inference_memory_requirements(self, dtype: torch.dtype) -> float:
        """Return the bytes of earlier controls and of the largest adapter: one runs at a time."""
        size = comfy.model_management.module_size
        own = max((size(region.adapter.network) for region in self.regions), default=0)
        return super().inference_memory_requirements(dtype) + own

    def pre_run(self, model: BaseModel, percent_to_timestep_function: Callable) -> None:
        """Prepare a sampling; ComfyUI calls it before the first step."""
        super().pre_run(model, percent_to_timestep_function)
        for region in self.regions:
            check_family(region.adapter, region.number, model)

    def _add(self, regions: Sequence[AdapterRegion], acting: Acting, call: Call) -> Slots | None:
        constant = tuple(pair for pair in acting if self._timings[pair[0]].is_constant)
        found = None
        if constant:
            # The same at every step, so it is added up once.
            key = (constant, self.cond_hint, *call.key)
            found = self._slots.get_or(key, lambda: self._once(regions, constant, call))
        for pair in acting:
            if pair not in constant:
                varying = self._sum(regions, (pair,), call)
                found = varying if found is None or varying is None else merge(varying, found)
        return found

    def _once(self, regions: Sequence[AdapterRegion], acting: Acting, call: Call) -> Slots | None:
        """Return what is the same at every step; a sentence if it is too large together."""
        slots = self._sum(regions, acting, call)
        tensors = [x for row in (slots or {}).values() for x in row if x is not None]
        if len(acting) > 1 and not all(stays_finite(x, call.precision) for x in tensors):
            kind = str(call.precision).removeprefix("torch.")
            raise ValueError(
                f"{self.name} together give numbers that are too large for {kind}, and would make "
                f"the picture black; lower their strengths, or choose the overlap normalise."
            )
        return slots

    def _sum(self, regions: Sequence[AdapterRegion], acting: Acting, call: Call) -> Slots | None:
        """Return the features of regions, times their factors, in ComfyUI's slots."""
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
        """Return a region's features for all that is batched together, [1 or B,C,h,w] a level."""
        x, region = call.x, regions[index]
        parts = []
        for view in call.views:
            window, count = view.window, call.batch
            if window is not None:  # once for all latents, of which each window shows some
                view, count = replace(view, window=None), window.total
            key = (index, self.cond_hint, view, count, x.device, x.dtype)
            features = self._features.get_or(
                key, lambda v=view, n=count: region.features(v, n, x, call.precision)
            )
            if features is not None and window is not None:
                features = [in_window(feature, window, call.batch) for feature in features]
            parts.append(features)
        some = next((part for part in parts if part is not None), None)
        if some is None:
            return None
        if len(set(call.views)) == 1 and len(some[0]) == 1:
            return list(some)
        return [
            torch.cat([_rows(None if part is None else part[i], level, call) for part in parts])
            for i, level in enumerate(some)
        ]


def _rows(feature: Tensor | None, like: Tensor, call: Call) -> Tensor:
    """Return the features of one prompt, [batch,C,h,w]; none are zeros."""
    if feature is None:
        feature = torch.zeros_like(like[:1])
    return feature.expand(call.batch, -1, -1, -1)


def to_slots(kind: str, features: Sequence[Tensor]) -> Slots:
    """Return features a level in ComfyUI's lists, which the UNet empties from their ends."""
    blocks = INPUT_BLOCKS[kind]
    row: list[Tensor | None] = [None] * _SLOTS[kind]
    for block, feature in zip(blocks, features, strict=False):
        row[block] = feature
    return {"input": row[::-1], "middle": list(features[len(blocks) :]), "output": []}
