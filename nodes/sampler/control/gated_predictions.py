"""A whole model with all its controls, gated: its predictions with and without them are blended.

For what has no features that a mask could gate: latents that are concatenated or referred to,
patches of attention. Conditions say in which of the two predictions they belong, and what another
model has instead of this one's patches and wrappers is put in their place.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import FunctionType, MethodType
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ....local_control.region_mask import RegionMask
from .gated_patch import innermost
from .predictions import Cond, check_rerun, told_apart
from .view import check_pictures, frames_in, view_wrappers, views_of
from .wiring import TOLD, Told, check_wiring, marked, unmarked

# Of model options: what to replace.
_GIVEN = "local_control_given"
_KEY = "local_control_predictions"
_INNER = "transformer_options"
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
_WINDOWS = "context_handler"

# A conditioning of the graph.
Conditioning = list[list]


@dataclass
class Change:
    """How the options of a model with control differ from those without it, as nested dicts.

    gone: what only the model with control has; other: what only the one without it has.
    """

    gone: dict[str, Any]
    other: dict[str, Any]

    @classmethod
    def between(cls, without: dict[str, Any], within: dict[str, Any]) -> "Change":
        """Return the change from one model's options to the other's."""
        return cls(_missing(within, without), _missing(without, within))

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


class PredictionGate:
    """A wrapper of CALC_COND_BATCH: predictions of both kinds, blended by a mask.

    key: under which conditions tell their place; prompts: the names of those that differ.
    """

    def __init__(self, mask: RegionMask, key: uuid.UUID, prompts: Sequence[str]) -> None:
        self._mask = mask
        self.key = key
        self.prompts = tuple(prompts)

    # Arguments behind `options` may come with newer versions of ComfyUI: they are passed through.
    def __call__(
        self,
        executor: Any,
        model: Any,
        conds: Sequence[Cond],
        x: Tensor,
        timestep: Tensor,
        options: dict,
        *rest: Any,
    ) -> Sequence[Tensor]:
        """Prompts that are alike with and without, to the same model, are predicted once.

        Where nothing of a prompt with control acts, the prediction without it counts.
        """
        check_pictures(x.shape, "Gate Predictions")
        _check_told(conds, self.key, options)
        change: Change | None = options.get(_GIVEN, {}).get(self.key)
        acting = [cond and _acting(cond, timestep) for cond in conds]
        within = [cond and self._side(cond, True) for cond in acting]
        without = [cond and self._side(cond, False) for cond in acting]
        _check_covered(within, without, self.key)
        if change is None:
            same = [_alike(a, b) for a, b in zip(within, without, strict=True)]
            within = [None if alike else c for c, alike in zip(within, same, strict=True)]
        if any(within):
            check_rerun(options, "Gate Predictions", "leave Gate Predictions out")
        others = options if change is None else change.undo(options)
        found = executor(model, without, x, timestep, others, *rest)
        gate = self._gate(x, options.get("transformer_options", {}))
        if not gate.any() or not any(within):
            return found
        told = [cond and told_apart(cond, self.key) for cond in within]
        wanted = executor(model, told, x, timestep, options, *rest)
        return [
            torch.lerp(outside, inside, gate) if cond else outside
            for outside, inside, cond in zip(found, wanted, told, strict=True)
        ]

    def _side(self, cond: Sequence[dict], is_within: bool) -> list[dict]:
        """The conditions of one prediction: those of it, and those of both."""
        told = [(entry, entry.get(TOLD, {}).get(self.key)) for entry in cond]
        return [unmarked(e) for e, place in told if place is None or place.is_within is is_within]

    def _gate(self, x: Tensor, options: Mapping[str, Any]) -> Tensor:
        """The mask on the grid of the latents, in a window those that it shows."""
        (view,) = views_of(x.shape, 1, {**options, "uuids": ()})
        return self._mask.as_factor(x.shape, view, len(x), frames_in(x.shape)).to(x)


def _acting(cond: Sequence[dict], timestep: Tensor) -> list[dict]:
    """The conditions of a prompt in whose timestep range a step is, as ComfyUI chooses them."""
    return [
        entry
        for entry in cond
        if not ("timestep_start" in entry and timestep[0] > entry["timestep_start"])
        and not ("timestep_end" in entry and timestep[0] < entry["timestep_end"])
    ]


def _alike(within: Cond, without: Cond) -> bool:
    ids = [[entry["uuid"] for entry in cond or ()] for cond in (within, without)]
    return ids[0] == ids[1]


def gate_predictions(
    model: ModelPatcher,
    mask: RegionMask,
    prompts: Mapping[str, tuple[Conditioning, Conditioning | None]],
    without: ModelPatcher | None = None,
) -> tuple[ModelPatcher, list[Conditioning]]:
    """Return a clone of `model` and its prompts, whose predictions outside are of `without`.

    prompts: by the sampler's names for them, each with control, and without it or None if they are
    the same. without: another clone of the model, or None if it is the same.

    Raises:
        ValueError: the two are of different weights.
    """
    key = uuid.uuid4()
    gated = model.clone()
    if without is not None:
        _check_weights(model, without)
        # Of the clone, since further clones have further copies of what is in their options.
        change = Change.between(_added(without), _added(gated))
        _check_change(change)
        gated.model_options[_GIVEN] = {**gated.model_options.get(_GIVEN, {}), key: change}
        models = [*without.model_patches_models(), *without.get_nested_additional_models()]
        gated.set_additional_models(str(key), models)
    told = [name for name, (_, outside) in prompts.items() if outside is not None]
    for kind, wrappers in view_wrappers(PredictionGate(mask, key, told)).items():
        for wrapper in wrappers:
            gated.add_wrapper_with_key(kind, _KEY, wrapper)
    check_wiring(gated)
    sides = [_both(name, within, outside, key) for name, (within, outside) in prompts.items()]
    return gated, marked(sides) if told else sides


def _both(
    name: str, within: Conditioning, without: Conditioning | None, key: uuid.UUID
) -> Conditioning:
    """The conditions of both predictions in one list; `name`: the prompt's."""
    if without is None:
        return within
    return [
        [embedding, {**values, TOLD: {**values.get(TOLD, {}), key: Told(name, is_within)}}]
        for cond, is_within in ((within, True), (without, False))
        for embedding, values in cond
    ]


def _check_weights(model: ModelPatcher, without: ModelPatcher) -> None:
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


def _check_told(conds: Sequence[Cond], key: uuid.UUID, options: Mapping[str, Any]) -> None:
    """Raise ValueError if prompts differ and ComfyUI mixes or splits their conditions."""
    entries = [entry for cond in conds for entry in cond or ()]
    if not any(key in entry.get(TOLD, {}) for entry in entries):
        return
    # It copies areas from one prompt to the others.
    if any(entry.get("area") is not None for entry in entries):
        raise ValueError(
            "Gate Predictions cannot tell prompts with and without control apart where one of them "
            "has an area; use Conditioning (Set Mask) instead of areas, or regions of Apply Local "
            "Control."
        )
    is_windowed = "context_window" in options.get(_INNER, {})
    if is_windowed and getattr(options.get(_WINDOWS), "split_conds_to_windows", False):
        raise ValueError(
            "The context windows have split_conds_to_windows on, which leaves each window a prompt "
            "with control or one without it, and Gate Predictions needs both; switch it off, or "
            "use regions of Apply Local Control."
        )


def _check_covered(within: Sequence[Cond], without: Sequence[Cond], key: uuid.UUID) -> None:
    """Raise ValueError if a prompt acts with control in a step, and nothing of it without."""
    for inside, outside in zip(within, without, strict=True):
        if inside and not outside:
            name = inside[0][TOLD][key].prompt  # conditions of both predictions are in both
            raise ValueError(
                f"Gate Predictions has a {name} prompt with control in a step in which none "
                f"without it acts; let the timestep ranges of {name}_without cover those of {name}."
            )


def _check_change(change: Change) -> None:
    """Raise ValueError if something acts behind the predictions that are blended."""
    names = [name for name in _ABOVE if name in change.gone or name in change.other]
    # What a handler keeps of earlier samplings may differ: of two it is not asked.
    names += [_WINDOWS] if (_WINDOWS in change.gone) != (_WINDOWS in change.other) else []
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
    options = {name: value for name, value in model.model_options.items() if name != _GIVEN}
    return {**options, _INNER: {**options.get(_INNER, {}), _WRAPPERS: model.wrappers}}


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
