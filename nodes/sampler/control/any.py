"""Any ComfyUI control, gated: its tensors are multiplied by the mask, each at its own grid."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from comfy.controlnet import ControlBase
from comfy.model_base import BaseModel
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ....local_control.gating import narrowest, spread_weights, stays_finite
from ....local_control.region_mask import match_batch
from ....local_control.view import View
from .any_region import ControlRegion, first_answer, tell_window
from .call import Call
from .hint import Hint
from .recent import Recent
from .region_control import Acting, RegionControl
from .slots import KEYS, Slots

# Copies of the control that are kept, each with its picture as the model sees it.
_KEPT_CONTROLS = 16
_KEPT_GATES = 128


class GatedControl(RegionControl[ControlRegion]):
    """The control object of one region."""

    may_misfit = True

    def __init__(self, region: ControlRegion, hint: Hint | None = None) -> None:
        super().__init__((region,))
        self._hint = hint or Hint([region])
        self._inner: Recent[ControlBase] = Recent(_KEPT_CONTROLS, lambda control: control.cleanup())
        self._gates: Recent[Tensor] = Recent(_KEPT_GATES)
        self._is_sound = False
        # Not the model itself: cleanup may never come, and the node's output outlives the model.
        self._run: tuple[weakref.ref, Callable] | None = None

    def _new(self) -> "GatedControl":
        return GatedControl(self._given[0], self._hint)

    def _on(self, device: torch.device) -> "GatedControl":
        (region,) = self._given
        own = replace(region, control=region.control.deepclone_multigpu(device))
        clone = GatedControl(own)
        clone.cond_hint_original = self._cut
        return clone

    def _show(self) -> Tensor:
        return self._hint.whole

    def _read(self, hint: Tensor) -> tuple[ControlRegion, ...]:
        return Hint(self._given).read(hint)

    def _forget(self) -> None:
        self._inner.forget()
        self._gates.forget()
        self._is_sound = False

    def get_models(self) -> list[ModelPatcher]:
        """Return what must be loaded: of earlier controls and of the one that is gated."""
        return [*super().get_models(), *self._given[0].control.get_models()]

    def get_extra_hooks(self) -> list:
        """Return the hooks of earlier controls and of the one that is gated."""
        return [*super().get_extra_hooks(), *self._given[0].control.get_extra_hooks()]

    def inference_memory_requirements(self, dtype: torch.dtype) -> float:
        """Return the bytes of earlier controls and of the one that is gated, for one run."""
        own = self._given[0].control.inference_memory_requirements(dtype)
        return super().inference_memory_requirements(dtype) + own

    def pre_run(self, model: BaseModel, percent_to_timestep_function: Callable) -> None:
        """Called once before the first step."""
        super().pre_run(model, percent_to_timestep_function)
        self._run = weakref.ref(model), percent_to_timestep_function

    def cleanup(self) -> None:
        """Called once after the last step."""
        super().cleanup()
        self._run = None

    def _add(self, regions: Sequence[ControlRegion], acting: Acting, call: Call) -> Slots | None:
        (region,), ((_, factor),) = regions, acting
        if call.steps == 1:  # else each frame may have its own
            total = call.views[0].window.total if call.views[0].window else call.batch
            match_batch(region.condition, total, "condition image")
        if all(self._is_outside(region, view, call) for view in call.views):
            return None
        if len(set(call.views)) == 1:
            found = self._ask(region, call)
        else:
            found = self._one_by_one(region, call)
        return None if found is None else self._gate(region, found, call, factor)

    def _try(self, regions: Sequence[ControlRegion], call: Call) -> None:
        """Run the control once, whose own range of steps has not come yet."""
        (region,) = regions
        first = next(call.apart())
        (view,) = first.views
        if self._run is None or self._is_outside(region, view, first):
            return
        model, to_timestep = self._run
        inner = replace(region, percent_range=(0.0, 1.0)).inner(view, first.batch)
        arguments = (first.x, first.t, first.cond, 1, first.options)
        first_answer(inner, (model(), to_timestep), arguments, region.number, view.window)
        inner.cleanup()

    def _is_outside(self, region: ControlRegion, view: View, call: Call) -> bool:
        """Whether nothing of what a prompt sees is in the region: the control need not run."""
        key = ("outside", self.cond_hint, view, call.batch, call.steps)
        seen = self._gates.get_or(key, lambda: region.gate.seen(view, call.batch, call.steps).any())
        return not seen

    def _ask(self, region: ControlRegion, call: Call) -> Slots | None:
        """What the control for what is seen returns; a sentence if it is not for this model."""
        (view,) = set(call.views)
        arguments = (call.x, call.t, call.cond, len(call.views), call.options)
        # What follows windows by itself must see all of them.
        kept = replace(view, window=None) if region.cuts_by(view.window) else view
        key = (kept, call.batch, self.cond_hint)
        if key in self._inner:
            tell_window(self._inner[key], view.window)
            return self._inner[key].get_control(*arguments)
        assert self._run is not None
        model, to_timestep = self._run
        inner = region.inner(view, call.batch)
        run = model(), to_timestep
        found = first_answer(inner, run, arguments, region.number, view.window)
        # Only now: cleanup wants a control that was prepared whole.
        self._inner.get_or(key, lambda: inner)
        return found

    def _one_by_one(self, region: ControlRegion, call: Call) -> Slots | None:
        """Conditions of different areas that ComfyUI has batched, each with its own picture."""
        parts = [self._ask(region, part) for part in call.apart()]
        if any(part is None for part in parts):
            return None
        return {
            key: [
                None if row[0] is None else torch.cat(row)
                for row in zip(*(part[key] for part in parts), strict=True)
            ]
            for key in KEYS
        }

    def _gate(self, region: ControlRegion, found: Slots, call: Call, factor: float) -> Slots:
        places = fine_to_coarse(found)
        weights = spread_weights(region.level_weights, len(places))
        weight_at = dict(zip(places, weights, strict=True))
        if not self._is_sound:  # asked of the first answer alone
            self._is_sound = check_numbers(region, found, weight_at, call)
        done: dict[tuple[int, float], Tensor] = {}
        out: Slots = {}
        for key in KEYS:
            out[key] = []
            for index, tensor in enumerate(found.get(key, ())):
                if tensor is None:
                    out[key].append(None)
                    continue
                weight = weight_at[key, index] * factor
                # One tensor may fill many slots: it is gated once and shared again.
                if (id(tensor), weight) not in done:
                    gate = self._gate_of(region, tensor, call)
                    done[id(tensor), weight] = tensor * (gate if weight == 1 else gate * weight)
                out[key].append(done[id(tensor), weight])
        return out

    def _gate_of(self, region: ControlRegion, tensor: Tensor, call: Call) -> Tensor:
        """The mask at the grid of a tensor, for all that is batched together."""
        geometry = tuple(tensor.shape[2:]) if tensor.ndim > 3 else (tensor.shape[1],)
        key = (geometry, self.cond_hint, tensor.dtype, *call.key)
        return self._gates.get_or(key, lambda: call.gate(region.gate, tensor))


def check_numbers(
    region: ControlRegion, found: Slots, weight_at: Mapping[tuple[str, int], float], call: Call
) -> bool:
    """Return whether what a control gives is finite at any factor of its curve.

    weight_at: factors by a tensor's key and index in `found`. Where the latents themselves are not
    finite, that is not known.

    Raises:
        ValueError: it is not.
    """
    if not call.x.isfinite().all():
        return False
    peak = max(map(abs, region.curve))
    for (key, index), weight in weight_at.items():
        tensor = found[key][index]
        dtype = narrowest(tensor.dtype, call.precision)
        if not stays_finite(tensor, dtype, abs(weight) * peak):
            kind = str(dtype).removeprefix("torch.")
            raise ValueError(
                f"The {type(region.control).__name__} of region {region.number} gives numbers at "
                f"strength {region.strength * peak:g} that are none, or too large for {kind}, and "
                f"would make the picture black; lower the strength, its curve or the level "
                f"weights, or load the control from another file."
            )
    return True


def fine_to_coarse(found: Slots) -> list[tuple[str, int]]:
    """Return where a control's tensors are, as (key, index): the finest grid first.

    Of one grid those of the middle come last. Tokens have one grid and keep their order. Lists of
    maps for input blocks start at the last one.
    """
    places: list[tuple[str, int]] = []
    for key in ("input", "output", "middle"):
        row = [i for i, tensor in enumerate(found.get(key, ())) if tensor is not None]
        is_reversed = key == "input" and all(found[key][i].ndim > 3 for i in row)
        places += [(key, i) for i in (reversed(row) if is_reversed else row)]

    def cells(place: tuple[str, int]) -> int:
        tensor = found[place[0]][place[1]]
        return tensor.shape[-2] * tensor.shape[-1] if tensor.ndim > 3 else 0

    return sorted(places, key=cells, reverse=True)
