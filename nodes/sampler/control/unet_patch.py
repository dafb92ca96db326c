"""SUPIR's patches of the UNet, gated: what they change in its maps.

They are methods of one object that knows at which of them a step has come, so they are called as
ever, and what each has changed is let in by the mask on the map's own grid.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ....local_control.region_mask import RegionMask
from .view import seen_shape, views_of

# ComfyUI's names of the places.
KINDS = ("middle_block_after_patch", "output_block_patch", "forward_timestep_embed_patch")


class MapGate:
    """A mask for maps [B,C,h,w] of a UNet, kept for each device."""

    def __init__(self, mask: RegionMask) -> None:
        self._mask = mask
        self._made: dict[tuple[object, ...], Tensor] = {}

    def let_in(self, before: Tensor, after: Tensor, options: dict[str, Any]) -> Tensor:
        """Return maps as they are `after` a patch inside the mask, and as `before` it outside."""
        count = len(options.get("cond_or_uncond", ())) or 1
        views = views_of((len(before), *seen_shape(options)[1:]), count, options)
        grid = (before.shape[-2], before.shape[-1])
        key = (grid, before.device)
        known, gate = self._made.get(key, (None, before))
        if known != (views, len(before), before.dtype):
            batch = len(before) // count
            rows = [self._mask.on_grid(grid, view, batch) for view in views]
            gate = torch.cat([row.expand(batch, -1, -1, -1) for row in rows]).to(before)
            self._made[key] = (views, len(before), before.dtype), gate
        return torch.lerp(before, after, gate)


@dataclass(frozen=True)
class GatedMapPatch:
    """One of SUPIR's methods and the gate that lets in what it changes."""

    method: Callable
    gate: MapGate

    def __deepcopy__(self, memo: dict[int, Any]) -> "GatedMapPatch":
        """Return itself: clones of models copy their options, and a network is in there."""
        return self


class AfterMiddle(GatedMapPatch):
    """A method that runs after the UNet's middle block."""

    def __call__(self, args: dict[str, Any]) -> dict[str, Any]:
        """Return ComfyUI's `args` of such a patch, `h` [B,C,h,w] of them changed."""
        out = self.method(args)
        return {**out, "h": self.gate.let_in(args["h"], out["h"], args["transformer_options"])}


class BeforeOutput(GatedMapPatch):
    """A method that runs before an output block and may take the skipped map in."""

    def __call__(self, h: Tensor, skip: Tensor, options: dict) -> tuple[Tensor, Tensor | None]:
        """Return the map [B,C,h,w] for the block, and the one to be appended to it or None."""
        after, kept = self.method(h, skip, options)
        if kept is not None:  # it does nothing at this step
            return after, kept
        return self.gate.let_in(torch.cat([h, skip], 1), after, options), None


class BeforeLayer(GatedMapPatch):
    """A method that stands in for a layer and calls it on another map."""

    def __call__(
        self, layer: Callable, x: Tensor, emb: Tensor, context: Tensor, options: dict, *rest: Any
    ) -> Tensor:
        """Return what the layer gives of `x` [B,C,h,w] as the method has changed it."""

        def gated(changed: Tensor, **more: Any) -> Tensor:
            return layer(self.gate.let_in(x, changed, options), **more)

        return self.method(gated, x, emb, context, options, *rest)


def is_supir(kind: str, patch: Any) -> bool:
    """Return whether a patch is one of a control network's for a UNet, without a mask."""
    return kind in KINDS and hasattr(getattr(_method(patch), "__self__", None), "model_patch")


def is_gated_map(patch: Any) -> bool:
    """Return whether a patch is one that `gate_map_patch` has returned."""
    return isinstance(_method(patch), GatedMapPatch)


def gate_map_patch(kind: str, patch: Any, gate: MapGate) -> Any:
    """Return the patch, gated; of a layer's class and a method that comes before it, the pair."""
    if kind == "middle_block_after_patch":
        return AfterMiddle(patch, gate)
    if kind == "output_block_patch":
        return BeforeOutput(patch, gate)
    layer_class, method = patch
    return layer_class, BeforeLayer(method, gate)


def _method(patch: Any) -> Any:
    return patch[-1] if isinstance(patch, tuple) else patch
