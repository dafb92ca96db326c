"""Whether model and prompts of one Gate Predictions reach the same sampler, asked when it begins.

Apart they would be silently wrong: without its model, prompts with and without control are mixed
everywhere. So both bring the question along: the model as a wrapper, prompts on a control that adds
nothing, since ComfyUI runs nothing else for a condition unless its hooks keep models from being
loaded dynamically.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import comfy.hooks
import torch
from comfy.controlnet import ControlBase
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP, get_all_wrappers

from .slots import Slots

# Of conditions: their place in gates, by the gates' keys.
TOLD = "local_control_told"
_KEY = "local_control_wiring"
# Tools that cut the pictures of controls find one, of which nothing is looked at.
_PICTURE = (1, 3, 64, 64)


class Told(NamedTuple):
    """A condition's place in a gate: of which prompt it is, and in which of both predictions."""

    prompt: str
    is_within: bool


class Mark(ControlBase):
    """A control that adds nothing, and has ComfyUI check the wiring of its condition."""

    def __init__(self) -> None:
        super().__init__()
        self.cond_hint_original = torch.zeros(_PICTURE)
        self.extra_hooks = comfy.hooks.HookGroup()
        wrappers = {WrappersMP.OUTER_SAMPLE: {_KEY: [_check]}}
        self.extra_hooks.add(comfy.hooks.TransformerOptionsHook({"wrappers": wrappers}))
        # Of a control without these, AnimateDiff-Evolved says that it knows of no windows.
        self.sub_idxs: list[int] | None = None
        self.full_latent_length = 0
        self.context_length = 0

    def get_control(self, *call: Any) -> Slots | None:
        """Return what earlier controls add."""
        previous = self.previous_controlnet
        return None if previous is None else previous.get_control(*call)

    def get_extra_hooks(self) -> list:
        """Return those of earlier controls; ours are tied to no condition."""
        previous = self.previous_controlnet
        return [] if previous is None else previous.get_extra_hooks()

    def copy(self) -> "Mark":
        """Return another one, without a predecessor."""
        return Mark()

    def deepclone_multigpu(self, load_device: torch.device, autoregister: bool = False) -> "Mark":
        """Return another one for a GPU."""
        clone = Mark()
        if autoregister:
            self.multigpu_clones[load_device] = clone
        return clone


def marked(prompts: Sequence[list[list]]) -> list[list[list]]:
    """Return CONDITIONINGs with a mark each, the same behind the same control: ComfyUI batches
    what has one control.
    """
    marks: dict[ControlBase | None, Mark] = {}

    def mark(values: Mapping[str, Any]) -> dict[str, Any]:
        previous = values.get("control")
        if previous not in marks:
            marks[previous] = Mark()
            marks[previous].set_previous_controlnet(previous)
        return {**values, "control": marks[previous]}

    return [[[embedding, mark(values)] for embedding, values in prompt] for prompt in prompts]


def unmarked(entry: dict[str, Any]) -> dict[str, Any]:
    """Return a condition of a sampling with the control that its mark stands before, if any."""
    control = entry.get("control")
    if not isinstance(control, Mark):
        return entry
    while isinstance(control, Mark):
        control = control.previous_controlnet
    rest = {name: value for name, value in entry.items() if name != "control"}
    return rest if control is None else {**rest, "control": control}


def check_wiring(model: ModelPatcher) -> None:
    """Have the wiring checked whenever a sampling with this very `model` begins."""
    if not model.get_wrappers(WrappersMP.OUTER_SAMPLE, _KEY):
        model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, _KEY, _check)


# The arguments differ between versions of ComfyUI, so they are passed through.
def _check(executor: Any, *args: Any, **kwargs: Any) -> Any:
    """Raise ValueError if a gate is sampled without its prompts, or prompts without their gate."""
    guider = executor.class_obj
    kind = WrappersMP.CALC_COND_BATCH
    found = get_all_wrappers(kind, guider.model_options, is_model_options=True)
    gates = {gate.key: gate.prompts for gate in found if hasattr(gate, "prompts")}
    reached: dict[UUID, set[str]] = {}
    for cond in guider.conds.values():
        for entry in cond:
            for key, told in entry.get(TOLD, {}).items():
                reached.setdefault(key, set()).add(told.prompt)
    if reached.keys() - gates.keys():
        raise ValueError(
            "A prompt of Gate Predictions is sampled without its model, and with and without "
            "control would be mixed all over the picture; connect the model output of that Gate "
            "Predictions to this sampler, too."
        )
    for key, prompts in gates.items():
        has = reached.get(key, set())
        missing = [
            name for name in prompts if name not in has and (not has or name in guider.conds)
        ]
        if missing:
            raise ValueError(
                f"The model of Gate Predictions is sampled without its {' and '.join(missing)} "
                f"output, and the control would act all over the picture or nowhere; connect that "
                f"to this sampler, too, or give the sampler the model from before Gate Predictions."
            )
    return executor(*args, **kwargs)
