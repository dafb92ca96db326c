"""The final z0' of every call of the model, whatever guider made it of which prompts."""

from collections.abc import Callable
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor

_KEY = "local_control_final_prediction"

# z0', the noise level and ComfyUI's BaseModel -> the z0' that goes on.
Change = Callable[[Tensor, float, Any], Tensor]


def after_prediction(model: ModelPatcher, change: Change) -> ModelPatcher:
    """A clone of `model` whose z0' goes through `change`, after what earlier calls have added.

    A wrapper of the guider's whole prediction: ComfyUI's post-CFG functions are called within it,
    and of a guider with several scales they see a part.
    """
    model = model.clone()
    earlier = model.model_options.get(_KEY, ())
    model.model_options[_KEY] = (*earlier, change)
    if not earlier:
        model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, _KEY, _apply)
    return model


def _apply(executor: Any, x: Tensor, timestep: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    z0 = executor(x, timestep, *args, **kwargs)
    guider = executor.class_obj
    for change in guider.model_options[_KEY]:
        z0 = change(z0, float(timestep.max()), guider.inner_model)
    return z0
