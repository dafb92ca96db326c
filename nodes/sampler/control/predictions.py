"""Predictions with and without control, blended by a mask: control then ends at its border.

Gated features still reach the outside, through what the model's layers see of their surroundings;
predictions that are made without them have nothing of them. It costs one more run a step.
"""

import itertools
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .ending import chain_of
from .region_control import OFF, RegionControl
from .view import check_pictures, with_option

Entry = dict[str, Any]
# Of one prompt: its conditions, or None if it is not wanted.
Cond = Sequence[Entry] | None


# Arguments behind `options` may come with newer versions of ComfyUI, so they are passed through.
def blend_exact(
    executor: Any,
    model: Any,
    conds: Sequence[Cond],
    x: Tensor,
    timestep: Tensor,
    options: dict,
    *rest: Any,
) -> list[Tensor]:
    """Return predictions in which exact controls act inside their masks alone.

    All predictions are made without them. For each Apply node whose controls act, those of the
    prompts on which they do are made once more, with them, and replace the others in the mask.
    """
    inner = options.get("transformer_options", {})
    sides = [exact_controls(cond or ()) for cond in conds]
    keys = list(dict.fromkeys(key for side in sides for key in side))
    if not keys or OFF in inner:  # a second Apply node has brought this wrapper once more
        return executor(model, conds, x, timestep, options, *rest)

    for control in itertools.chain(
        *(row for side in sides for rows in side.values() for row in rows)
    ):
        check_pictures(x.shape, control.name)
        check_rerun(options, f"{control.name} with outside: exact", "choose outside: gated")

    def run(conds: Sequence[Cond], off: Sequence[uuid.UUID]) -> Sequence[Tensor]:
        conds = [cond and [_without_idle(entry, off) for entry in cond] for cond in conds]
        return executor(model, conds, x, timestep, with_option(options, OFF, off), *rest)

    found = list(run(conds, keys))
    for key in keys:
        rows, sigma = [side.get(key, ()) for side in sides], float(timestep[0])
        masks = [_blend(row, x, sigma, inner) for row in rows]
        # What acts later is asked once now, so that a control that does not fit is named.
        asked = [_waiting(row, sigma) for row in rows]
        if not any(asked) and all(mask is None for mask in masks):
            continue
        chosen = [
            None if mask is None and not ask else told_apart(cond or (), key)
            for cond, mask, ask in zip(conds, masks, asked, strict=True)
        ]
        within = run(chosen, [other for other in keys if other != key])
        for control in itertools.chain(*asked):
            control.is_tried = True  # on several GPUs its copies have been asked
        found = [
            without if mask is None else torch.lerp(without, wanted, mask)
            for without, wanted, mask in zip(found, within, masks, strict=True)
        ]
    return found


def exact_controls(cond: Sequence[Entry]) -> dict[uuid.UUID, list[list[RegionControl]]]:
    """Return the exact controls of a prompt by what those of one Apply node have in common.

    A list for each of its conditions that has other ones than those before.
    """
    found: dict[uuid.UUID, list[list[RegionControl]]] = {}
    for entry in cond:
        own: dict[uuid.UUID, list[RegionControl]] = {}
        for control in reversed(list(chain_of(entry))):  # the first that was applied comes first
            if isinstance(control, RegionControl) and control.exact is not None:
                own.setdefault(control.exact, []).append(control)
        for key, controls in own.items():
            if controls not in found.setdefault(key, []):
                found[key].append(controls)
    return found


def check_rerun(options: Mapping[str, Any], owner: str, remedy: str) -> None:
    """Raise ValueError if the sampler lets the model run once a step alone; owner: who needs two.

    options: of the model; remedy: what to do other than to choose another sampler.
    """
    # The model writes what it sees into a cache that has room for one run.
    if "ar_state" in options.get("transformer_options", {}):
        raise ValueError(
            f"The autoregressive sampler (SamplerARVideo) can run the model once a step alone, not "
            f"twice as for {owner}; choose another sampler, or {remedy}."
        )


def told_apart(cond: Sequence[Entry], key: uuid.UUID) -> list[Entry]:
    """Return a prompt's conditions under other ids, for what caches predictions by these."""
    return [{**entry, "uuid": uuid.uuid5(key, str(entry["uuid"]))} for entry in cond]


def _without_idle(entry: Entry, off: Sequence[uuid.UUID]) -> Entry:
    """A condition without its control, if nothing of that has an effect: it is batched alike."""
    if all(isinstance(c, RegionControl) and c.exact in off for c in chain_of(entry)):
        return {name: value for name, value in entry.items() if name != "control"}
    return entry


def _waiting(rows: Sequence[Sequence[RegionControl]], sigma: float) -> list[RegionControl]:
    """Return the controls of a prompt that act later and that only asking tells not to fit."""
    return [c for row in rows for c in row if not (c.is_tried or c.acts(sigma))]


def _blend(
    rows: Sequence[Sequence[RegionControl]], x: Tensor, sigma: float, options: dict
) -> Tensor | None:
    """Return where controls act in the latents `x` of a prompt, None if nowhere.

    rows: those of one condition each; where one of them has any, the prompt is controlled.
    """
    unions = []
    for controls in rows:
        masks = [mask for c in controls if (mask := c.blend(x, sigma, options)) is not None]
        if masks:
            unions.append(torch.stack(torch.broadcast_tensors(*masks)).sum(0).clamp(max=1))
    return torch.stack(torch.broadcast_tensors(*unions)).amax(0) if unions else None
