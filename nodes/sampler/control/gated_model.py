"""Models with controls among their parts: each of these is found, and gated by a mask."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP

from ....local_control.region_mask import RegionMask
from .gated_patch import GatedPatch, VaceGate, form_of
from .unet_patch import MapGate, gate_map_patch, is_gated_map, is_supir
from .view import view_wrappers

log = logging.getLogger(__name__)

_KEY = "local_control_patches"


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
    forms = {id(patch): form_of(kind, patch) for kind, patch in found}
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
