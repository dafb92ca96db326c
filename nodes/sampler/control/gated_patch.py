"""Controls that are patches of a model, gated: what they change in its image tokens.

Patches run after blocks (Qwen's DiffSynth, Z-Image's, Wan's Uni3C) or before attention and MLP
(Anima's LLLite), on a copy of the tokens; what they have changed is let in by the mask. Wan's VACE
adds to the tokens by a strength, which is told for each of them.
"""

from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ....local_control.region_mask import RegionMask
from .token_gate import TokenGate
from .view import seen_shape

_AFTER_BLOCKS = ("double_block", "noise_refiner")
_BEFORE_ATTENTION = ("attn1_patch", "attn2_patch")


class GatedPatch:
    """One patch and the mask inside which it acts.

    Tools that sample tiles look for a patch by its class's name, cut a part out of its `image`
    [B,H,W,C] and call its `__init__` anew. So this has the name and the attributes of the patch,
    and its `image` has the masks as further channels, which are cut with it.
    """

    _patch: Any
    _masks: RegionMask
    _gate: TokenGate

    @classmethod
    def around(cls, patch: Any, mask: RegionMask) -> "GatedPatch":
        """Return the patch, gated by a mask."""
        new = object.__new__(type(type(patch).__name__, (cls,), {}))
        object.__setattr__(new, "_patch", patch)
        new._set_mask(mask)
        return new

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Make the patch anew, as tools do when they have cut its `image`."""
        cut = self._patch.image
        channels = cut.shape[-1]

        def own(value: Any) -> Any:
            is_cut = torch.is_tensor(value) and value.shape[:-1] == cut.shape[:-1]
            return value[..., :channels] if is_cut else value

        self._patch.__init__(*map(own, args), **{name: own(v) for name, v in kwargs.items()})

    def _set_mask(self, mask: RegionMask) -> None:
        object.__setattr__(self, "_masks", mask)
        object.__setattr__(self, "_gate", TokenGate(mask))

    @property
    def image(self) -> Tensor:
        """Return the picture of the patch [B,H,W,C], with the masks as further channels."""
        picture = self._patch.image
        masks = self._masks.at((picture.shape[1], picture.shape[2])).to(picture)
        return torch.cat([picture, masks.movedim(0, -1)[0].expand(len(picture), -1, -1, -1)], -1)

    def _set_image(self, cut: Tensor) -> None:
        channels = self._patch.image.shape[-1]
        self._patch.image = cut[..., :channels]
        masks = cut[..., channels:].float()
        if min(len(masks), masks.shape[-1]) > 1:
            raise ValueError(
                f"A tool has cut {len(masks)} tiles out of the picture of a gated patch that has "
                f"{masks.shape[-1]} masks; sample one tile at a time, or give one mask."
            )
        self._set_mask(RegionMask(masks.movedim(-1, 0).reshape(-1, 1, *masks.shape[1:3])))

    def __getattr__(self, name: str) -> Any:
        """What the patch has."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._patch, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set it on the patch."""
        if name == "image":
            self._set_image(value)
        else:
            setattr(self._patch, name, value)

    def __deepcopy__(self, memo: dict[int, Any]) -> "GatedPatch":
        """The same patch, gated: clones of models copy their options, and networks are in there."""
        return type(self).__mro__[1].around(self._patch, self._masks)

    def to(self, device_or_dtype: object) -> "GatedPatch":
        """Return itself with the patch moved or cast; ComfyUI calls it when the model is."""
        if hasattr(self._patch, "to"):
            object.__setattr__(self, "_patch", self._patch.to(device_or_dtype))
        return self

    def models(self) -> list[ModelPatcher]:
        """Return the models that the patch needs loaded."""
        return self._patch.models() if hasattr(self._patch, "models") else []


def innermost(patch: Any) -> Any:
    """Return the patch that is gated, or the patch itself."""
    while isinstance(patch, GatedPatch):
        patch = patch.__dict__["_patch"]
    return patch


class AfterBlock(GatedPatch):
    """A patch that runs after blocks and changes their image tokens."""

    def __call__(self, args: dict[str, Any]) -> dict[str, Any]:
        """args: ComfyUI's of such a patch; `img` [B,T,C] are image tokens, `x` a latent."""
        before = args["img"]
        work = before.clone()
        out = self._patch({**args, "img": work})
        after = out.get("img", work)  # some work in place and return all but that
        options = args.get("transformer_options", {})
        # Where references come before the latent, newer versions of ComfyUI say where it starts.
        start = args.get("img_offset", 0)
        return {**out, "img": self._gate.let_in(before, after, args["x"].shape, options, start)}


class BeforeAttention(GatedPatch):
    """A patch that changes what attention is computed from, in the image's tokens."""

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, *rest: Any, extra_options: dict, **more: Any
    ) -> dict[str, Any]:
        """q, k, v [B,T,C] or [B,T,h,w,C]; what the patch leaves as it is may be of the text."""
        before = {"q": q, "k": k, "v": v}
        out = self._patch(q, k, v, *rest, extra_options=extra_options, **more)
        shape = seen_shape(extra_options)
        changed = {
            name: self._gate.let_in(value, out[name], shape, extra_options)
            for name, value in before.items()
            if out.get(name, value) is not value
        }
        return {**out, **changed}


class BeforeMlp(GatedPatch):
    """A patch that changes what an MLP is computed from."""

    def __call__(self, args: dict[str, Any]) -> dict[str, Any]:
        """args: ComfyUI's of such a patch; `x` [B,T,C] or [B,T,h,w,C] are image tokens."""
        before, options = args["x"], args["transformer_options"]
        out = self._patch(dict(args))
        return {**out, "x": self._gate.let_in(before, out["x"], seen_shape(options), options)}


class TokenStrength:
    """A strength for each token, by which ComfyUI multiplies what it adds to them.

    One after the other: their product would be rounded in half precision, where that of the
    strength alone is not.
    """

    def __init__(self, strength: float, gate: Tensor) -> None:
        self._strength = strength
        self._gate = gate

    def __rmul__(self, skip: Tensor) -> Tensor:
        """Return what is added to the tokens [B,T,C], in its type."""
        return skip * self._strength * self._gate


class VaceGate:
    """A wrapper of DIFFUSION_MODEL: the strengths of Wan's VACE, told for each token."""

    def __init__(self, mask: RegionMask) -> None:
        self._gate = TokenGate(mask)

    def __call__(self, executor: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """x: the latent; kwargs: `vace_strength`, a factor for each video that controls."""
        options = next(value for value in args if isinstance(value, dict))
        gate = self._gate.factor(x, x.shape, options)
        strengths = [TokenStrength(strength, gate) for strength in kwargs["vace_strength"]]
        return executor(x, *args, **{**kwargs, "vace_strength": strengths})


def form_of(kind: str, patch: Any) -> type[GatedPatch] | None:
    """Return how a patch of a kind can be gated; None if it cannot."""
    if kind in _AFTER_BLOCKS:
        return AfterBlock
    # Others before attention and MLP are no controls, but ways to compute these.
    has_network = hasattr(getattr(patch, "patch", None), "model_patch")
    form = {**dict.fromkeys(_BEFORE_ATTENTION, BeforeAttention), "mlp_patch": BeforeMlp}.get(kind)
    return form if has_network else None
