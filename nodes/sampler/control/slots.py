"""Adding two controls slot by slot, as ComfyUI hands them from one to the next."""

from collections.abc import Mapping, Sequence

from torch import Tensor

KEYS = ("input", "middle", "output")
Slots = dict[str, list[Tensor | None]]


def merge(control: Mapping[str, Sequence], previous: Mapping[str, Sequence] | None) -> Slots:
    """Return their sum; lists are aligned at their starts, as ComfyUI aligns them."""
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
