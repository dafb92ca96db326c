"""Model patches that act as controls (Qwen's DiffSynth, Z-Image's), gated: what they add to tokens.

Such a patch runs after blocks and adds to their image tokens. It is run on a copy, and what it has
added is multiplied by the mask on the grid of tokens.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ....local_control.region_mask import RegionMask
from ....local_control.view import View
from .view import frames_in, view_wrappers, views_of

log = logging.getLogger(__name__)

_KEY = "local_control_patches"
_KINDS = ("double_block", "noise_refiner")
_PATCH = 2  # latent cells along a token's side, in every model that has such patches


class GatedPatch:
    """One patch and the mask inside which it acts."""

    def __init__(self, patch: Any, mask: RegionMask) -> None:
        self._patch = patch
        self._mask = mask
        self._gates: dict[tuple[object, ...], Tensor] = {}

    def __call__(self, args: dict[str, Any]) -> dict[str, Any]:
        """args: ComfyUI's of such a patch; `img` [B,T,C] are image tokens, `x` a latent."""
        before, x = args["img"], args["x"]
        work = before.clone()
        out = self._patch({**args, "img": work})
        changed = out.get("img", work)  # some work in place and return all but that
        views = self._views(x, args.get("transformer_options", {}))
        key = (tuple(x.shape), views, before.device, before.dtype)
        if key not in self._gates:  # the same for every block and step
            self._gates = {key: self._gate(x, views).to(before)}
        gate = self._gates[key]
        count = gate.shape[1]  # tokens of reference pictures follow those of the latent
        added = changed[:, :count] - before[:, :count]
        after = before.clone()
        after[:, :count] += added * gate
        return {**out, "img": after}

    def __deepcopy__(self, memo: dict[int, Any]) -> "GatedPatch":
        """The same patch, gated: clones of models copy their options, and networks are in there."""
        return GatedPatch(self._patch, self._mask)

    @staticmethod
    def _views(x: Tensor, options: dict[str, Any]) -> tuple[View, ...]:
        """What each of the conditions batched together sees."""
        count = len(options.get("cond_or_uncond", ())) or 1
        return views_of(x, count, options)

    def _gate(self, x: Tensor, views: tuple[View, ...]) -> Tensor:
        """[1 or B,T,1] for the image tokens of the latent, which come first."""
        batch, steps = len(x) // len(views), frames_in(x)
        gates = []
        for view in views:
            tokens = steps * -(-view.size[0] // _PATCH) * -(-view.size[1] // _PATCH)
            gates.append(self._mask.as_tokens(tokens, view, batch, steps))
        if len(set(views)) == len(gates[0]) == 1:
            return gates[0]
        return torch.cat([gate.expand(batch, -1, -1) for gate in gates])

    def to(self, device_or_dtype: object) -> "GatedPatch":
        """Called by ComfyUI when the model moves."""
        if hasattr(self._patch, "to"):
            self._patch = self._patch.to(device_or_dtype)
        return self

    def models(self) -> list[ModelPatcher]:
        """What the patch needs loaded."""
        return self._patch.models() if hasattr(self._patch, "models") else []


def gate_patches(model: ModelPatcher, mask: RegionMask) -> ModelPatcher:
    """A clone of `model` whose patches after blocks act inside the mask alone.

    Those that are gated keep the mask that they have. Patches of other kinds have no place in the
    picture that a mask could choose; they are logged.

    Raises:
        ValueError: it has none, or all are gated.
    """
    with _put_aside(model.model_options["transformer_options"]) as patches:
        model = model.clone()
    others = ", ".join(kind for kind in patches if kind not in _KINDS)
    if not any(patches.get(kind) for kind in _KINDS):
        found = f"only of the kinds {others}, which a mask cannot gate" if others else "none at all"
        raise ValueError(
            f"This model has no patch that acts as a control after its blocks ({found}); connect "
            f"the model that a node such as QwenImageDiffsynthControlnet returns."
        )
    known = [patch for kind in _KINDS for patch in patches.get(kind, ())]
    if all(isinstance(patch, GatedPatch) for patch in known):
        raise ValueError(
            "All patches of this model have a mask already; connect the model that the node of the "
            "next patch returns, after the first Gate Model Patches."
        )
    if others:
        log.warning("A mask cannot gate this model's patches of the kinds %s; they stay.", others)
    model.model_options["transformer_options"]["patches"] = {
        kind: [_gated(patch, mask) for patch in row] if kind in _KINDS else list(row)
        for kind, row in patches.items()
    }
    for kind, wrappers in view_wrappers().items():
        for wrapper in wrappers:
            model.add_wrapper_with_key(kind, _KEY, wrapper)
    return model


def _gated(patch: Any, mask: RegionMask) -> GatedPatch:
    return patch if isinstance(patch, GatedPatch) else GatedPatch(patch, mask)


@contextmanager
def _put_aside(options: dict[str, Any]) -> Iterator[dict[str, list]]:
    """The patches of a model, which a clone made meanwhile does not copy: networks are in there."""
    patches = options.pop("patches", {})
    try:
        yield patches
    finally:
        if patches:
            options["patches"] = patches
