"""Any ComfyUI control, gated: its tensors are multiplied by the mask, each at its own grid."""

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from comfy.controlnet import ControlBase
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ....local_control.gating import spread_weights, token_gate
from ....local_control.masks import mask_on_grid, match_batch, resize_frames
from .any_region import ControlRegion, first_answer
from .region import Timing
from .slots import KEYS, Slots, hooks_of_previous, merge, of_previous
from .view import Frame, frames_of


class GatedControl(ControlBase):
    """The control object of one region."""

    def __init__(self, region: ControlRegion) -> None:
        super().__init__()
        self.region = region
        self._inner: dict[Frame | None, ControlBase] = {}
        self._gates: dict[tuple[object, ...], Tensor] = {}
        self._timing: Timing | None = None
        # Not the model itself: cleanup may never come, and the node's output outlives the model.
        self._run: tuple[weakref.ref, Callable] | None = None

    def copy(self) -> "GatedControl":
        """The same region, without a predecessor."""
        new = GatedControl(self.region)
        self.copy_to(new)
        return new

    def get_models(self) -> list[ModelPatcher]:
        """Those of earlier controls and our own."""
        return [*super().get_models(), *self.region.control.get_models()]

    def get_extra_hooks(self) -> list:
        """Those of earlier controls and of the one that is gated."""
        return [*hooks_of_previous(self), *self.region.control.get_extra_hooks()]

    def inference_memory_requirements(self, dtype: torch.dtype) -> float:
        """Those of earlier controls and our own."""
        own = self.region.control.inference_memory_requirements(dtype)
        return super().inference_memory_requirements(dtype) + own

    def pre_run(self, model: object, percent_to_timestep_function: Callable) -> None:
        """Called once before the first step."""
        super().pre_run(model, percent_to_timestep_function)
        self._forget()  # ComfyUI skips cleanup when a sampling fails or is interrupted
        self._run = weakref.ref(model), percent_to_timestep_function
        self._timing = Timing(self.region, percent_to_timestep_function)

    def cleanup(self) -> None:
        """Called once after the last step."""
        super().cleanup()
        self._forget()
        self._run = self._timing = None

    def _forget(self) -> None:
        for inner in self._inner.values():
            inner.cleanup()
        self._inner.clear()
        self._gates.clear()

    def get_control(
        self,
        x_noisy: Tensor,
        t: Tensor,
        cond: dict,
        batched_number: int,
        transformer_options: dict,
    ) -> Slots | None:
        """The gated tensors, added to those of earlier controls."""
        call = (x_noisy, t, cond, batched_number, transformer_options)
        previous = of_previous(self, *call)
        assert self._timing is not None
        factor = self._timing.factor(float(t[0]))
        if factor is None:
            return previous
        if x_noisy.ndim == 4 or x_noisy.shape[2] == 1:  # else each frame may have its own
            batch = len(x_noisy) // batched_number
            match_batch(self.region.condition, batch, "condition image")
        frames = frames_of(x_noisy, batched_number, transformer_options)
        if len(set(frames)) == 1:
            found = self._ask(frames[0], *call)
        else:
            found = self._one_by_one(frames, x_noisy, t, cond, transformer_options)
        if found is None:
            return previous
        return merge(self._gate(found, x_noisy, frames, factor), previous)

    def _ask(self, frame: Frame, *call: Any) -> Slots | None:
        """What the control for what is seen returns; a sentence if it is not for this model."""
        if frame in self._inner:
            return self._inner[frame].get_control(*call)
        assert self._run is not None
        model, to_timestep = self._run
        inner = self.region.inner(frame)
        found = first_answer(inner, (model(), to_timestep), call, self.region.number)
        self._inner[frame] = inner  # only now: cleanup wants a control that was prepared whole
        return found

    def _one_by_one(
        self, frames: Sequence[Frame], x: Tensor, t: Tensor, cond: dict, transformer_options: dict
    ) -> Slots | None:
        """Conditions of different areas that ComfyUI has batched, each with its own picture."""
        batch = len(x) // len(frames)
        parts = []
        for i, frame in enumerate(frames):
            own = slice(i * batch, (i + 1) * batch)

            def cut(value: object, own: slice = own) -> object:
                return value[own] if torch.is_tensor(value) and len(value) == len(x) else value

            options = dict(transformer_options)
            for key in ("cond_or_uncond", "uuids"):
                if key in options:
                    options[key] = options[key][i : i + 1]
            values = {key: cut(value) for key, value in cond.items()}
            parts.append(self._ask(frame, x[own], t[own], values, 1, options))
        if any(part is None for part in parts):
            return None
        return {
            key: [
                None if row[0] is None else torch.cat(row)
                for row in zip(*(part[key] for part in parts), strict=True)
            ]
            for key in KEYS
        }

    def _gate(self, found: Slots, x: Tensor, frames: Sequence[Frame], factor: float) -> Slots:
        places = fine_to_coarse(found)
        weights = spread_weights(self.region.level_weights, len(places))
        weight_at = dict(zip(places, weights, strict=True))
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
                    gate = self._gate_of(tensor, x, frames)
                    done[id(tensor), weight] = tensor * (gate if weight == 1 else gate * weight)
                out[key].append(done[id(tensor), weight])
        return out

    def _gate_of(self, tensor: Tensor, x: Tensor, frames: Sequence[Frame]) -> Tensor:
        """The mask at the grid of a tensor, for all that is batched together."""
        geometry = tuple(tensor.shape[2:]) if tensor.ndim > 3 else (tensor.shape[1],)
        key = (geometry, tuple(frames), tuple(x.shape), tensor.dtype)
        if key not in self._gates:
            batch = len(x) // len(frames)
            gates = [self._mask_at(tensor, x, frame, batch) for frame in frames]
            if len(set(frames)) == len(gates[0]) == 1:
                gates = gates[:1]  # one for all
            else:
                gates = [gate.expand(batch, *gate.shape[1:]) for gate in gates]
            self._gates[key] = torch.cat(gates).to(tensor)
        return self._gates[key]

    def _mask_at(self, tensor: Tensor, x: Tensor, frame: Frame, batch: int) -> Tensor:
        """[1 or batch, ...] to be multiplied with the tensor's rows of one condition."""
        steps = x.shape[2] if x.ndim == 5 else 1
        if self.region.mask is None:
            return torch.ones([1] * tensor.ndim)
        mask = frame.show(self.region.mask, "area").to(tensor.device)
        if steps == 1:
            match_batch(mask, batch)
        if tensor.ndim == 3:
            return token_gate(mask, tensor.shape[1], frame.size, steps)
        if steps > 1:
            mask = resize_frames(mask, steps)
        gate = mask_on_grid(mask, (tensor.shape[-2], tensor.shape[-1]))
        if tensor.ndim == 5:  # [T,1,h,w] -> [1,1,T,h,w], or [B,1,h,w] -> [B,1,1,h,w]
            gate = gate.movedim(0, 1)[None] if steps > 1 else gate[:, :, None]
        return gate


def fine_to_coarse(found: Slots) -> list[tuple[str, int]]:
    """Where a control's tensors are, finest grid first; of one grid those of the middle come last.

    Tokens have one grid and keep their order. Lists of maps for input blocks start at the last one.
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
