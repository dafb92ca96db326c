"""SUPIR's patches of the UNet, gated: what they change in its maps.

They are methods of one object that knows at which of them a step has come, so they are called as
ever, and what each has changed is let in by the mask on the map's own grid.
"""

from collections.abc import Callable
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
        views = views_of(seen_shape(options), count, options)
        grid = (before.shape[-2], before.shape[-1])
        key = (grid, before.device)
        known, gate = self._made.get(key, (None, before))
        if known != (views, len(before), before.dtype):
            batch = len(before) // count
            rows = [self._mask.on_grid(grid, view, batch) for view in views]
            gate = torch.cat([row.expand(batch, -1, -1, -1) for row in rows]).to(before)
            self._made[key] = (views, len(before), before.dtype), gate
        return torch.lerp(before, after, gate)


def is_supir(kind: str, patch: Any) -> bool:
    """Return whether a patch is one of a control network's for a UNet."""
    method = patch[-1] if isinstance(patch, tuple) else patch
    return kind in KINDS and hasattr(getattr(method, "__self__", None), "model_patch")


def gate_map_patch(kind: str, patch: Any, gate: MapGate) -> Any:
    """Return the patch, gated; of a layer's class and a method that comes before it, the pair."""
    if kind == "middle_block_after_patch":
        return _after_middle(patch, gate)
    if kind == "output_block_patch":
        return _before_output(patch, gate)
    layer_class, method = patch
    return layer_class, _before_layer(method, gate)


def _after_middle(method: Callable, gate: MapGate) -> Callable:
    def run(args: dict[str, Any]) -> dict[str, Any]:
        out = method(args)
        return {**out, "h": gate.let_in(args["h"], out["h"], args["transformer_options"])}

    return run


def _before_output(method: Callable, gate: MapGate) -> Callable:
    def run(h: Tensor, skip: Tensor, options: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
        after, kept = method(h, skip, options)
        if kept is not None:  # it does nothing at this step
            return after, kept
        return gate.let_in(torch.cat([h, skip], 1), after, options), None

    return run


def _before_layer(method: Callable, gate: MapGate) -> Callable:
    def run(
        layer: Callable, x: Tensor, emb: Tensor, context: Tensor, options: dict, *rest: Any
    ) -> Tensor:
        def gated(changed: Tensor, **more: Any) -> Tensor:
            return layer(gate.let_in(x, changed, options), **more)

        return method(gated, x, emb, context, options, *rest)

    return run
