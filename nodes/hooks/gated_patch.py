"""Model patches that act as controls (Qwen's DiffSynth), gated: what they add to image tokens.

Such a patch runs after each double block and adds to its image tokens. It is run on a copy, and
what it has added is multiplied by the mask on the grid of tokens.
"""

from typing import Any

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...local_control.gating import token_gate
from ...local_control.masks import match_batch
from .frame import Frame

_KIND = "double_block"
_PATCH = 2  # latent cells along a token's side, in every model that has such patches


class GatedPatch:
    """One patch and the mask [1 or B,1,H,W] (of a video [T,1,H,W]) inside which it acts."""

    def __init__(self, patch: Any, mask: Tensor) -> None:
        self._patch = patch
        self._mask = mask
        self._gates: dict[tuple[object, ...], Tensor] = {}

    def __call__(self, args: dict[str, Any]) -> dict[str, Any]:
        """args: ComfyUI's of a double-block patch; `img` [B,T,C] are image tokens, `x` a latent."""
        before, x = args["img"], args["x"]
        out = self._patch({**args, "img": before.clone()})
        key = (tuple(x.shape), len(before), before.device, before.dtype)
        if key not in self._gates:  # the same for every block and step
            self._gates = {key: self._gate(x, before).to(before)}
        gate = self._gates[key]
        count = gate.shape[1]  # tokens of reference pictures follow those of the latent
        added = out["img"][:, :count] - before[:, :count]
        after = before.clone()
        after[:, :count] += added * gate
        return {**out, "img": after}

    def _gate(self, x: Tensor, img: Tensor) -> Tensor:
        """[1 or B,T,1] for the image tokens of the latent, which come first."""
        size, steps = (x.shape[-2], x.shape[-1]), x.shape[2] if x.ndim == 5 else 1
        mask = Frame(size, size).show(self._mask, "area").to(img.device)
        tokens = steps * -(-size[0] // _PATCH) * -(-size[1] // _PATCH)
        gate = token_gate(mask, tokens, size, steps)
        if len(gate) == 1:
            return gate
        if len(img) % len(gate):
            match_batch(gate, len(img))  # says how many there are
        return gate.repeat(len(img) // len(gate), 1, 1)  # positive and negative in one batch

    def to(self, device_or_dtype: object) -> "GatedPatch":
        """Called by ComfyUI when the model moves."""
        if hasattr(self._patch, "to"):
            self._patch = self._patch.to(device_or_dtype)
        return self

    def models(self) -> list[ModelPatcher]:
        """What the patch needs loaded."""
        return self._patch.models() if hasattr(self._patch, "models") else []


def gate_patches(model: ModelPatcher, mask: Tensor) -> ModelPatcher:
    """A clone of `model` whose patches after double blocks act inside the mask alone.

    Raises:
        ValueError: it has none.
    """
    model = model.clone()
    options = model.model_options["transformer_options"]
    patches = options.get("patches", {}).get(_KIND, [])
    if not patches:
        raise ValueError(
            "This model has no patch that acts as a control after its blocks; connect the model "
            "that a node such as QwenImageDiffsynthControlnet returns."
        )
    gated = [GatedPatch(patch, mask) for patch in patches]
    options["patches"] = {**options["patches"], _KIND: gated}
    return model
