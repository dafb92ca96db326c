"""A region of any ComfyUI control: its copy for what is seen, and whether it fits the model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from comfy.controlnet import ControlBase
from comfy.model_management import OOM_EXCEPTION
from comfy.utils import common_upscale
from torch import Tensor

from ....local_control.region_mask import in_window
from ....local_control.view import View
from .region import Region
from .slots import Slots

# What networks raise when they are given another model's latents, text or pooled text.
_MISFITS = (RuntimeError, TypeError, AttributeError, AssertionError, ValueError)


@dataclass(frozen=True, kw_only=True)
class ControlRegion(Region):
    """A region whose control is any of ComfyUI's. `vae` is for controls that read latents.

    level_weights: from the finest tensor to the coarsest, each for an equal share of them.
    """

    control: ControlBase
    vae: Any = None

    def inner(self, view: View, batch: int) -> ControlBase:
        """Return a copy of the control for what is seen of the picture, without a predecessor.

        batch: latents of one prompt.
        """
        condition = self.condition
        if view.window is not None and len(condition) == view.window.total:
            condition = in_window(condition, view.window, batch)
        if not view.is_whole:
            cell = self._cell()
            height, width = (side * cell for side in view.whole)
            method = self.control.upscale_algorithm
            condition = view.crop(common_upscale(condition, width, height, method, "center"), cell)
        control = self.control.copy()
        extra = []
        if self.control.concat_mask:  # an inpaint control
            mask = self.mask.white if view.is_whole else self.mask.seen(view, batch)
            condition, extra = as_inpainted(condition, mask)
        control.set_cond_hint(
            condition, self.strength, self.percent_range, vae=self.vae, extra_concat=extra
        )
        return control.set_previous_controlnet(None)

    def _cell(self) -> int:
        """Return the pixels of the control's picture a latent cell."""
        cell = self.control.compression_ratio
        if self.control.latent_format is None or self.vae is None:
            return cell
        # Of controls that read latents that is 1, and the VAE has its own on top.
        return cell * self.vae.spacial_compression_encode()


def first_answer(
    control: ControlBase, run: tuple[Any, Callable], call: Sequence[Any], number: int
) -> Slots | None:
    """Return the first answer of a control, prepared for a `run`; `number`: its region's.

    Raises:
        ValueError: it is not made for this model.
    """
    try:
        # As ComfyUI prepares controls: on the thread of another GPU the mode is not set.
        with torch.inference_mode(not torch.is_grad_enabled()):
            control.pre_run(*run)
        return control.get_control(*call)
    except _MISFITS as error:
        if not is_misfit(error):
            raise
        name = type(getattr(run[0], "model_config", run[0])).__name__
        reason = str(error).split("\n")[0]
        raise ValueError(
            f"The {type(control).__name__} of region {number} does not fit the model {name} "
            f"({reason}); load a control made for {name}, or a checkpoint of the control's family."
        ) from error


def is_misfit(error: Exception) -> bool:
    """Return whether a network's error is about what it was given, not memory or the device."""
    if isinstance(error, OOM_EXCEPTION):
        return False
    words = ("shape", "size", "channels", "dimension")
    return not isinstance(error, RuntimeError) or any(word in str(error) for word in words)


def as_inpainted(condition: Tensor, mask: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return the picture without what the mask covers, and what to keep (white), to inpaint.

    As ComfyUI's own node for them has it (ControlNetInpaintingAliMamaApply).
    """
    keep = 1 - mask
    height, width = condition.shape[-2:]
    shown = common_upscale(keep, width, height, "bilinear", "center").round()
    return condition * shown.to(condition), [keep]
