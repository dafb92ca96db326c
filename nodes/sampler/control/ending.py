"""What our controls have made of a sampling, dropped when it ends, however it ends.

ComfyUI cleans controls up after those alone that succeed; what others leave would stay on the
device until the same control is sampled again.
"""

from collections.abc import Iterator
from typing import Any

import comfy.hooks
from comfy.patcher_extension import WrappersMP

_KEY = "local_control_ending"


def ending_hooks() -> comfy.hooks.HookGroup:
    """Return hooks for a control's `extra_hooks` that have it drop all when a sampling ends."""
    group = comfy.hooks.HookGroup()
    wrappers = {WrappersMP.OUTER_SAMPLE: {_KEY: [_drop_at_end]}}
    group.add(comfy.hooks.TransformerOptionsHook({"wrappers": wrappers}))
    return group


def chain_of(entry: dict[str, Any]) -> Iterator[Any]:
    """Yield the controls of a sampling's condition, the last that was applied first."""
    control = entry.get("control")
    while control is not None:
        yield control
        control = control.previous_controlnet


# The arguments differ between versions of ComfyUI, so they are passed through.
def _drop_at_end(executor: Any, *args: Any, **kwargs: Any) -> Any:
    """Return what is sampled, after which nothing of it is in the controls of its prompts."""
    try:
        return executor(*args, **kwargs)
    finally:
        entries = [entry for cond in executor.class_obj.conds.values() for entry in cond]
        for control in {control for entry in entries for control in chain_of(entry)}:
            if hasattr(control, "forget_sampling"):
                control.forget_sampling()
