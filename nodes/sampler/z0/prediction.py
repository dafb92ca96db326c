"""The final z0' of every call of the model, whatever guider made it of which prompts."""

from collections.abc import Callable
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from .sampling_run import noting_runs, run_of

_KEY = "local_control_final_prediction"

# z0' of the pictures and the noise level -> the z0' that goes on.
Change = Callable[[Tensor, float], Tensor]
# ComfyUI's BaseModel as it is sampled -> the change for one sampling.
Begin = Callable[[Any], Change]


def after_prediction(model: ModelPatcher, begin: Begin) -> ModelPatcher:
    """Return a clone of `model` whose z0' is changed after what earlier calls of this have done.

    A wrapper of the guider's whole prediction: ComfyUI's post-CFG functions are called within it,
    and of a guider with several scales they see a part.
    """
    model = noting_runs(model)
    earlier = model.model_options.get(_KEY, ())
    model.model_options[_KEY] = (*earlier, begin)
    if not earlier:
        model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, _KEY, _apply)
    return model


def _apply(executor: Any, x: Tensor, timestep: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    z0 = executor(x, timestep, *args, **kwargs)
    guider = executor.class_obj
    run = run_of(guider)
    if _KEY not in run.kept:
        run.kept[_KEY] = [begin(run.model) for begin in guider.model_options[_KEY]]
    before = moved = run.visible(z0)
    for change in run.kept[_KEY]:
        moved = change(moved, float(timestep.max()))
    return z0 if moved is before else run.with_visible(z0, moved)
