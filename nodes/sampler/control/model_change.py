"""What the options of one model have and those of another, a clone of it, have not."""

from dataclasses import dataclass
from functools import partial
from types import FunctionType, MethodType
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher

from .gated_patch import innermost

# Of model options: what to replace, by the keys of gates.
GIVEN = "local_control_given"
# The model option that makes context windows.
WINDOWS = "context_handler"
INNER = "transformer_options"
_WRAPPERS = "wrappers"
_ABSENT = object()
# Model options that ComfyUI calls above CALC_COND_BATCH, on both predictions at once.
_ABOVE = (
    "denoise_mask_function",
    "sampler_calc_cond_batch_function",
    "sampler_cfg_function",
    "sampler_post_cfg_function",
    "sampler_pre_cfg_function",
)


@dataclass
class Change:
    """How the options of a model with control differ from those without it, as nested dicts.

    gone: what only the model with control has; other: what only the one without it has.
    """

    gone: dict[str, Any]
    other: dict[str, Any]

    @classmethod
    def between(cls, without: ModelPatcher, within: ModelPatcher) -> "Change":
        """Return the change from what one model adds to a sampling to what the other adds."""
        other, own = _added(without), _added(within)
        return cls(_missing(own, other), _missing(other, own))

    def undo(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return a run's model options with the change undone; what came later stays."""
        return _replaced(options, self.gone, self.other)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Change":
        """The same for copied options: what stands there as a copy is gone as that copy."""

        def copied(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: copied(item) for key, item in value.items()}
            if isinstance(value, list):
                return [copied(item) for item in value]
            return memo.get(id(value), value)

        return Change(copied(self.gone), self.other)


def check_weights(model: ModelPatcher, without: ModelPatcher) -> None:
    """Raise ValueError if two models differ in more than options."""
    if not model.is_clone(without):
        raise ValueError(
            "The model and model_without of Gate Predictions come from different checkpoints; "
            "connect the model before its control was added as model_without."
        )
    if model.injections.keys() != without.injections.keys():
        raise ValueError(
            "The model and model_without of Gate Predictions differ in what is injected into them, "
            "as a motion model of AnimateDiff-Evolved is; put the node that injects it before the "
            "two part."
        )
    same = (
        model.patches_uuid == without.patches_uuid,
        model.object_patches == without.object_patches,
    )
    if not all(same):
        raise ValueError(
            "The model and model_without of Gate Predictions have different weights or samplings, "
            "as by a LoRA or a ModelSampling node on one of them; put such nodes before the two "
            "part."
        )


def check_change(change: Change) -> None:
    """Raise ValueError if something acts behind the predictions that are blended."""
    names = [name for name in _ABOVE if name in change.gone or name in change.other]
    # What a handler keeps of earlier samplings may differ: of two it is not asked.
    names += [WINDOWS] if (WINDOWS in change.gone) != (WINDOWS in change.other) else []
    if names:
        has, lacks = "model", "model_without"
        if names[0] not in change.gone:
            has, lacks = lacks, has
        raise ValueError(
            f"The {has} of Gate Predictions has a {names[0]} that {lacks} has not, as Edge "
            f"Guidance, PAG or Context Windows add one; it acts on both predictions at once and "
            f"cannot be gated. Put the node that adds it behind Gate Predictions, or before the "
            f"two models part."
        )


def _added(model: ModelPatcher) -> dict[str, Any]:
    """Return what a model adds to the options of a sampling."""
    options = {name: value for name, value in model.model_options.items() if name != GIVEN}
    return {**options, INNER: {**options.get(INNER, {}), _WRAPPERS: model.wrappers}}


def _missing(value: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return what of nested dicts and lists is not in the other ones."""
    found: dict[str, Any] = {}
    for key, item in value.items():
        own = other.get(key, _ABSENT)
        if isinstance(item, dict):
            rest = _missing(item, own if isinstance(own, dict) else {})
        elif isinstance(item, list):
            known = own if isinstance(own, list) else []
            rest = [one for one in item if not any(_same(one, there) for there in known)]
        else:
            rest = _ABSENT if _same(item, own) else item
        if rest is not _ABSENT and (rest or not isinstance(rest, dict | list)):
            found[key] = rest
    return found


def _same(a: Any, b: Any) -> bool:
    """Return whether two things in models' options are one, or copies that clones have made."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if torch.is_tensor(a):
        return a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, str | int | float | bool | tuple):
        return a == b
    # Functions are never copied.
    if isinstance(a, FunctionType | MethodType | partial) or not hasattr(a, "__dict__"):
        return False
    own, there = vars(a), vars(b)
    return own.keys() == there.keys() and all(_alike_inside(own[k], there[k]) for k in own)


def _alike_inside(a: Any, b: Any) -> bool:
    """Whether attributes of two things may be copies: values are compared, networks by type."""
    if torch.is_tensor(a) or isinstance(a, str | int | float | bool | tuple):
        return _same(a, b)
    return type(a) is type(b)


def _replaced(value: Any, gone: Any, other: Any) -> Any:
    """Return a value of the options without what is `gone`, with what is in `other`."""
    if isinstance(value, dict):
        rows = [row if isinstance(row, dict) else {} for row in (gone, other)]
        keys = dict.fromkeys([*value, *rows[1]])
        found = {k: _replaced(*(row.get(k, _ABSENT) for row in (value, *rows))) for k in keys}
        return {k: v for k, v in found.items() if v is not _ABSENT}
    if isinstance(value, list):
        rows = [row if isinstance(row, list) else [] for row in (gone, other)]
        ids = {id(item) for item in rows[0]}
        kept = [item for item in value if not {id(item), id(innermost(item))} & ids]
        return kept + rows[1]
    if value is _ABSENT or value is gone:
        return other
    return value
