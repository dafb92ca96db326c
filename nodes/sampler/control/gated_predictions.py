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
from .model_change import GIVEN, INNER, WINDOWS, Change, check_change, check_weights
from .predictions import Cond, check_rerun, told_apart
from .view import check_pictures, frames_in, view_wrappers, views_of
from .wiring import TOLD, Told, check_wiring, marked, unmarked

_KEY = "local_control_predictions"
# A conditioning of the graph.
Conditioning = list[list]


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
        change: Change | None = options.get(GIVEN, {}).get(self.key)
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
        check_weights(model, without)
        # Of the clone, since further clones have further copies of what is in their options.
        change = Change.between(without, gated)
        check_change(change)
        gated.model_options[GIVEN] = {**gated.model_options.get(GIVEN, {}), key: change}
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
    is_windowed = "context_window" in options.get(INNER, {})
    if is_windowed and getattr(options.get(WINDOWS), "split_conds_to_windows", False):
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
