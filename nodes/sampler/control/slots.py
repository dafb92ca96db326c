"""Adding two controls slot by slot, as ComfyUI hands them from one to the next."""

from collections.abc import Mapping, Sequence

from comfy.controlnet import ControlBase
from torch import Tensor

KEYS = ("input", "middle", "output")
Slots = dict[str, list[Tensor | None]]


def merge(control: Mapping[str, Sequence], previous: Mapping[str, Sequence] | None) -> Slots:
    """Their sum; neither is changed. Lists are aligned at their starts, as ComfyUI aligns them."""
    out: Slots = {}
    for key in KEYS:
        ours = list(control.get(key) or [])
        theirs = list((previous or {}).get(key) or [])
        length = max(len(ours), len(theirs))
        ours += [None] * (length - len(ours))
        theirs += [None] * (length - len(theirs))
        out[key] = [
            b if a is None else a if b is None else b + a for a, b in zip(ours, theirs, strict=True)
        ]
    return out


def hooks_of_previous(control: ControlBase) -> list:
    """Those of the controls before this one, as `get_extra_hooks` gives them.

    Our own note areas, for all conditions alike, and are registered from `extra_hooks`. What this
    gives, ComfyUI also ties to the condition, as it must where weights change with it; newer
    versions then do without dynamic loading of the model.
    """
    previous = control.previous_controlnet
    return [] if previous is None else previous.get_extra_hooks()


def of_previous(control: ControlBase, *call: object) -> Slots | None:
    """What the controls before this one return; `call`: the arguments of `get_control`."""
    previous = control.previous_controlnet
    return None if previous is None else previous.get_control(*call)
