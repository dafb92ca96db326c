"""Controls that act on one prompt alone, under area conditions.

Where one prompt has an area that the other has not, ComfyUI copies the condition into the other's
list with the other's text, but with the control that it had.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from .ending import chain_of
from .region_control import RegionControl


def keep_sides(executor: Any, model: Any, conds: Sequence, *rest: Any) -> Any:
    """Return a batch's predictions, where such copies have the control that their text has.

    Raises:
        ValueError: a node has had ComfyUI give the control of one prompt to the other.
    """
    _check_given(conds)
    return executor(model, [cond and list(_own_controls(cond)) for cond in conds], *rest)


def _own_controls(cond: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the entries of one prompt; of those that share a text the first is no copy."""
    owners: dict[int, dict[str, Any]] = {}
    for entry in cond:
        values = [id(value) for value in entry["model_conds"].values()]
        owner = next((owners[value] for value in values if value in owners), entry)
        owners |= dict.fromkeys(values, owner)
        if entry.get("control") is not owner.get("control"):
            entry = {**entry, "control": owner.get("control")}
        yield entry


def _check_given(conds: Sequence) -> None:
    """Raise ValueError if what is of one prompt alone was given to another with all behind it."""
    for index, cond in enumerate(conds):
        others = itertools.chain(*filter(None, (*conds[:index], *conds[index + 1 :])))
        controls = {id(entry.get("control")) for entry in others}
        for entry in cond or ():
            is_given = entry.get("control_apply_to_uncond") and id(entry["control"]) in controls
            if is_given and any(_is_one_sided(control) for control in chain_of(entry)):
                raise ValueError(
                    "Apply ControlNet (OLD) behind Apply Local Control gives its control, and all "
                    "before it, to the negative prompt as well, but a region there acts on the "
                    "positive prompt alone; use Apply ControlNet instead."
                )


def _is_one_sided(control: Any) -> bool:
    return isinstance(control, RegionControl) and control.is_one_sided
