"""Controls that act on one prompt alone, under area conditions.

Where one prompt has an area that the other has not, ComfyUI copies the condition into the other's
list with the other's text, but with the control that it had.
"""

from collections.abc import Iterator, Sequence
from typing import Any


def keep_sides(executor: Any, model: Any, conds: Sequence, *rest: Any) -> Any:
    """Return a batch's predictions, where such copies have the control that their text has."""
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
