"""One sampling: the latents that its hooks see, and what they keep for as long as it runs."""

from typing import Any

import comfy.utils
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor

_KEY = "local_control_run"


class Run:
    """A sampling with a model that `noting_runs` has made.

    ComfyUI packs several latents (pictures and sound) into one while it samples; `shapes` are
    theirs, and the first is the picture. kept: what hooks keep, each under a key of its own.
    """

    def __init__(self, guider: Any, shapes: Any) -> None:
        self._guider = guider
        self._shapes = list(shapes or ())
        self.kept: dict[object, Any] = {}

    @property
    def model(self) -> Any:
        """Return ComfyUI's BaseModel as it is sampled, with what nodes have changed of it."""
        return self._guider.inner_model

    def visible(self, latent: Tensor) -> Tensor:
        """Return the part of a latent that is seen, and not heard; it may share its memory."""
        return self._parts(latent)[0]

    def with_visible(self, latent: Tensor, visible: Tensor) -> Tensor:
        """Return the latent with another visible part; its others stay as they are, to the bit."""
        others = self._parts(latent)[1:]
        return comfy.utils.pack_latents([visible, *others])[0] if others else visible

    def _parts(self, latent: Tensor) -> list[Tensor]:
        if len(self._shapes) < 2:
            return [latent]
        return comfy.utils.unpack_latents(latent, self._shapes)


def run_of(guider: Any) -> Run:
    """Return the run of a guider; of other packs' guiders that have none, one for now."""
    return run_in(guider.model_options) or Run(guider, ())


def run_in(model_options: dict[str, Any]) -> Run | None:
    """Return the run in the model options that ComfyUI hands to functions of a sampling."""
    return model_options.get(_KEY)


def noting_runs(model: ModelPatcher) -> ModelPatcher:
    """Return a clone of `model` with a `Run` for each sampling, which goes when that ends."""
    model = model.clone()
    if not model.get_wrappers(WrappersMP.OUTER_SAMPLE, _KEY):
        model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, _KEY, _note)
    return model


# The arguments differ between versions of ComfyUI, so they are passed through.
def _note(executor: Any, *args: Any, **kwargs: Any) -> Any:
    guider = executor.class_obj
    guider.model_options[_KEY] = Run(guider, kwargs.get("latent_shapes"))
    try:
        return executor(*args, **kwargs)
    finally:
        guider.model_options.pop(_KEY, None)
