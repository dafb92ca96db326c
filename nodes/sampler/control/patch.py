"""Controls that are part of the model, gated: what they change in its image tokens.

Patches run after blocks (Qwen's DiffSynth, Z-Image's, Wan's Uni3C) or before attention and MLP
(Anima's LLLite), on a copy of the tokens; what they have changed is let in by the mask. Wan's VACE
adds to the tokens by a strength, which is told for each of them.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ....local_control.region_mask import RegionMask
from .unet_patch import MapGate, gate_map_patch, is_gated_map, is_supir
from .view import check_pictures, frames_in, patch_side, seen_shape, view_wrappers, views_of

log = logging.getLogger(__name__)

_KEY = "local_control_patches"
_AFTER_BLOCKS = ("double_block", "noise_refiner")
_BEFORE_ATTENTION = ("attn1_patch", "attn2_patch")


class TokenGate:
    """A mask for a model's image tokens, kept for each device: the same in all blocks and steps."""

    def __init__(self, mask: RegionMask) -> None:
        self._mask = mask
        self._made: dict[torch.device, tuple[object, Tensor]] = {}

    def let_in(
        self,
        before: Tensor,
        after: Tensor,
        shape: Sequence[int],
        options: dict[str, Any],
        start: int = 0,
    ) -> Tensor:
        """Return tokens as they are `after` a patch inside the mask, and as `before` it outside.

        before, after: [B,T,C] or [B,T,h,w,C]; shape: the latent's; start: the latent's first token.
        Tokens that have no place in the picture, of padding and references, take the mean of both
        by the white share of the mask.
        """
        gate = self.factor(before, shape, options, before[0, ..., 0].numel(), start)
        return torch.lerp(before, after, gate.reshape(*before.shape[:-1], 1))

    def factor(
        self,
        like: Tensor,
        shape: Sequence[int],
        options: dict[str, Any],
        tokens: int | None = None,
        start: int = 0,
    ) -> Tensor:
        """Return the mask for `tokens` (those of the latent alone, if None) [B,T,1].

        like: a tensor of the batch's length, device and type; the rest as `let_in` has it.
        """
        check_pictures(shape, "Gate Model Patches")
        count = len(options.get("cond_or_uncond", ())) or 1
        views = views_of(shape, count, options)
        key = (tuple(shape), views, len(like), tokens, start, like.dtype)
        known, gate = self._made.get(like.device, (None, like))
        if known != key:
            batch, steps, side = len(like) // count, frames_in(shape), patch_side(options)
            rows = []
            for view in views:
                grid = (-(-view.size[0] // side), -(-view.size[1] // side))
                cells = self._mask.as_tokens(steps * grid[0] * grid[1], view, batch, steps, [side])
                if tokens is not None:
                    row = cells.mean(1, keepdim=True).repeat(1, tokens, 1)
                    row[:, start : start + cells.shape[1]] = cells
                    cells = row
                rows.append(cells.expand(batch, -1, -1))
            gate = torch.cat(rows).to(like)
            self._made[like.device] = key, gate
        return gate


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


class VaceGate:
    """A wrapper of DIFFUSION_MODEL: the strengths of Wan's VACE, told for each token."""

    def __init__(self, mask: RegionMask) -> None:
        self._gate = TokenGate(mask)

    def __call__(self, executor: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """x: the latent; kwargs: `vace_strength`, a factor for each video that controls."""
        options = next(value for value in args if isinstance(value, dict))
        gate = self._gate.factor(x, x.shape, options)
        strengths = [strength * gate for strength in kwargs["vace_strength"]]
        return executor(x, *args, **{**kwargs, "vace_strength": strengths})


def _form_of(kind: str, patch: Any) -> type[GatedPatch] | None:
    """How a patch can be gated; None if it cannot."""
    if kind in _AFTER_BLOCKS:
        return AfterBlock
    # Others before attention and MLP are no controls, but ways to compute these.
    has_network = hasattr(getattr(patch, "patch", None), "model_patch")
    form = {**dict.fromkeys(_BEFORE_ATTENTION, BeforeAttention), "mlp_patch": BeforeMlp}.get(kind)
    return form if has_network else None


def _is_gated(patch: Any) -> bool:
    return isinstance(patch, GatedPatch) or is_gated_map(patch)


def gate_patches(model: ModelPatcher, mask: RegionMask) -> ModelPatcher:
    """Return a clone of `model` whose patches that act as controls do so inside the mask alone.

    Those that are gated keep the mask that they have. Patches of other kinds have no place in the
    picture that a mask could choose; they are logged.

    Raises:
        ValueError: it has none, or all are gated.
    """
    with _put_aside(model.model_options["transformer_options"]) as patches:
        model = model.clone()
    found = [(kind, patch) for kind, row in patches.items() for patch in row]
    forms = {id(patch): _form_of(kind, patch) for kind, patch in found}
    known = [patch for _, patch in found if forms[id(patch)] or _is_gated(patch)]
    of_maps = [patch for kind, patch in found if is_supir(kind, patch)]
    # What only prepares for others, such as the picture that they share, is no control itself.
    shared = {id(getattr(patch, "patch", None)) for patch in known}
    others = ", ".join(
        dict.fromkeys(
            kind
            for kind, patch in found
            if patch not in known and patch not in of_maps and id(patch) not in shared
        )
    )
    is_vace = hasattr(model.get_model_object("diffusion_model"), "vace_layers")
    is_gated = bool(model.get_wrappers(WrappersMP.DIFFUSION_MODEL, _KEY))
    if not known and not of_maps and not is_vace:
        told = f"only of the kinds {others}, which a mask cannot gate" if others else "none at all"
        raise ValueError(
            f"This model has no patch that acts as a control on its image tokens ({told}); connect "
            f"the model that a node such as QwenImageDiffsynthControlnet returns, or use Gate "
            f"Predictions, which gates anything."
        )
    are_gated = all(_is_gated(patch) for patch in known)
    if are_gated and not of_maps and (is_gated or not is_vace):
        raise ValueError(
            "All patches of this model have a mask already; connect the model that the node of the "
            "next patch returns, after the first Gate Model Patches."
        )
    if others:
        log.warning(
            "A mask cannot gate this model's patches of the kinds %s; they stay. Gate Predictions "
            "can.",
            others,
        )

    gated: dict[int, GatedPatch] = {}  # one for a patch that stands in several places
    for patch in known:
        form = forms[id(patch)]
        if form is not None and not _is_gated(patch):
            gated.setdefault(id(patch), form.around(patch, mask))
    map_gate = MapGate(mask)

    def replaced(kind: str, patch: Any) -> Any:
        if is_supir(kind, patch):
            return gate_map_patch(kind, patch, map_gate)
        return gated.get(id(patch), patch)

    model.model_options["transformer_options"]["patches"] = {
        kind: [replaced(kind, patch) for patch in row] for kind, row in patches.items()
    }
    if is_vace and not is_gated:
        model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, _KEY, VaceGate(mask))
    for kind, wrappers in view_wrappers().items():
        for wrapper in wrappers:
            model.add_wrapper_with_key(kind, _KEY, wrapper)
    return model


@contextmanager
def _put_aside(options: dict[str, Any]) -> Iterator[dict[str, list]]:
    """The patches of a model, which a clone made meanwhile does not copy: networks are in there."""
    patches = options.pop("patches", {})
    try:
        yield patches
    finally:
        if patches:
            options["patches"] = patches
