"""A whole model with all its controls, gated: its predictions with and without them are blended.

For what has no features that a mask could gate: latents that are concatenated or referred to,
patches of attention. Conditions say in which of the two predictions they belong, and what another
model has instead of this one's patches and wrappers is put in their place.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ....local_control.region_mask import RegionMask
from .predictions import Cond, told_apart
from .view import frames_in, view_wrappers, views_of

# Of conditions: in which prediction of which gate they belong; of model options: what to replace.
_SIDE = "local_control_side"
_GIVEN = "local_control_given"
_KEY = "local_control_predictions"
_ABSENT = object()

# A conditioning of the graph.
Conditioning = list[list]


class Fixed:
    """A value that stays itself where ComfyUI copies model options with all that is in them."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __deepcopy__(self, memo: dict[int, Any]) -> "Fixed":
        """The same, since networks may be in there."""
        return self


class PredictionGate:
    """A wrapper of CALC_COND_BATCH: predictions of both kinds, blended by a mask."""

    def __init__(self, mask: RegionMask, key: uuid.UUID) -> None:
        self._mask = mask
        self._key = key

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
        """Prompts that are alike with and without, to the same model, are predicted once."""
        replaced = options.get(_GIVEN, {}).get(self._key)
        within = [cond and self._side(cond, True) for cond in conds]
        without = [cond and self._side(cond, False) for cond in conds]
        if replaced is None:
            same = [_alike(a, b) for a, b in zip(within, without, strict=True)]
            within = [None if alike else c for c, alike in zip(within, same, strict=True)]
        others = options
        if replaced is not None:
            (given, wrappers), other = replaced
            others = replace_options(options, (given, wrappers.value), other.value)
        found = executor(model, without, x, timestep, others, *rest)
        gate = self._gate(x, options.get("transformer_options", {}))
        if not gate.any() or not any(within):
            return found
        told = [cond and told_apart(cond, self._key) for cond in within]
        wanted = executor(model, told, x, timestep, options, *rest)
        return [
            torch.lerp(outside, inside, gate) if cond else outside
            for outside, inside, cond in zip(found, wanted, told, strict=True)
        ]

    def _side(self, cond: Sequence[dict], is_within: bool) -> list[dict]:
        """The conditions of one prediction: those of it, and those of both."""
        return [e for e in cond if e.get(_SIDE, {}).get(self._key, is_within) is is_within]

    def _gate(self, x: Tensor, options: Mapping[str, Any]) -> Tensor:
        """The mask on the grid of the latents, in a window those that it shows."""
        (view,) = views_of(x.shape, 1, {**options, "uuids": ()})
        return self._mask.as_factor(x.shape, view, len(x), frames_in(x.shape)).to(x)


def _alike(within: Cond, without: Cond) -> bool:
    ids = [[entry["uuid"] for entry in cond or ()] for cond in (within, without)]
    return ids[0] == ids[1]


def gate_predictions(
    model: ModelPatcher,
    mask: RegionMask,
    prompts: Sequence[tuple[Conditioning, Conditioning | None]],
    without: ModelPatcher | None = None,
) -> tuple[ModelPatcher, list[Conditioning]]:
    """A clone of `model` and its prompts, whose predictions are those of `without` outside.

    prompts: each with control, and without it or None if they are the same. without: another clone
    of the model, or None if it is the same.

    Raises:
        ValueError: the two are of different weights.
    """
    key = uuid.uuid4()
    gated = model.clone()
    if without is not None:
        _check_weights(model, without)
        others = _copied(without.model_options), _copied(without.wrappers)
        # Options of the clone, since further clones have further copies of what is in them.
        given = _copied(gated.model_options), Fixed(_copied(gated.wrappers))
        known = gated.model_options.get(_GIVEN, {})
        gated.model_options[_GIVEN] = {**known, key: (given, Fixed(others))}
        models = [*without.model_patches_models(), *without.get_nested_additional_models()]
        gated.set_additional_models(str(key), models)
    for kind, wrappers in view_wrappers(PredictionGate(mask, key)).items():
        for wrapper in wrappers:
            gated.add_wrapper_with_key(kind, _KEY, wrapper)
    sides = [_both(within, outside, key) for within, outside in prompts]
    return gated, sides


def _both(within: Conditioning, without: Conditioning | None, key: uuid.UUID) -> Conditioning:
    """The conditions of both predictions in one list."""
    if without is None:
        return within
    return [
        [embedding, {**values, _SIDE: {**values.get(_SIDE, {}), key: is_within}}]
        for cond, is_within in ((within, True), (without, False))
        for embedding, values in cond
    ]


def _check_weights(model: ModelPatcher, without: ModelPatcher) -> None:
    if not model.is_clone(without):
        raise ValueError(
            "The model and model_without of Gate Predictions come from different checkpoints; "
            "connect the model before its control was added as model_without."
        )
    if model.patches_uuid != without.patches_uuid or model.object_patches != without.object_patches:
        raise ValueError(
            "The model and model_without of Gate Predictions have different weights or samplings, "
            "as by a LoRA or a ModelSampling node on one of them; put such nodes before the two "
            "part."
        )


# What a model adds to the options of a sampling: its model options, and its wrappers.
Added = tuple[dict[str, Any], dict[str, Any]]


def replace_options(options: dict[str, Any], given: Added, other: Added) -> dict[str, Any]:
    """Return the model options of a run with what `other` adds in the place of what `given` does.

    What nodes behind have added stays.
    """
    rows = []
    for added, wrappers in (given, other):
        inner = {**added.get("transformer_options", {}), "wrappers": wrappers}
        rows.append({**added, "transformer_options": inner, _GIVEN: _ABSENT})
    return _replaced(options, *rows)


def _replaced(value: Any, given: Any, other: Any) -> Any:
    """One value of the options; `_ABSENT` where there is none."""
    if isinstance(value, dict):
        rows = [row if isinstance(row, dict) else {} for row in (given, other)]
        keys = dict.fromkeys([*value, *rows[1]])
        found = {k: _replaced(*(row.get(k, _ABSENT) for row in (value, *rows))) for k in keys}
        return {k: v for k, v in found.items() if v is not _ABSENT}
    if isinstance(value, list):
        rows = [row if isinstance(row, list) else [] for row in (given, other)]
        gone = {id(item) for item in rows[0]}
        return [item for item in value if id(item) not in gone] + rows[1]
    if value is _ABSENT or value is given:
        return other
    return value


def _copied(value: Any) -> Any:
    """Nested dictionaries and lists anew, with the same things in them."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return list(value) if isinstance(value, list) else value
