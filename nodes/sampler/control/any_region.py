"""A region of any ComfyUI control: its copy for what is seen, and whether it fits the model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from comfy.controlnet import ControlBase
from comfy.model_management import OOM_EXCEPTION
from comfy.utils import common_upscale
from torch import Tensor

from ....local_control.region_mask import RegionMask, in_window
from ....local_control.view import View, Window
from .region import Region
from .slots import Slots

# What networks raise when they are given another model's latents, text or pooled text.
_MISFITS = (RuntimeError, TypeError, AttributeError, AssertionError, ValueError)
# What controls have that windows are told, as Advanced-ControlNet and AnimateDiff-Evolved do it.
_TOLD = "sub_idxs"


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
        window = view.window
        condition, white = self.condition, self.mask.white
        if not self.cuts_by(window):
            condition, white = (_rows(x, window, batch) for x in (condition, white))
        if not view.is_whole:
            cell = self._cell()
            height, width = (side * cell for side in view.whole)
            method = self.control.upscale_algorithm
            condition = view.crop(common_upscale(condition, width, height, method, "center"), cell)
            white = RegionMask(white).seen(replace(view, window=None), len(white))
        control = self.control.copy()
        extra = []
        if self.control.concat_mask:  # an inpaint control
            condition, extra = as_inpainted(condition, white)
            if self.cuts_by(window):  # its pictures alone
                extra = [_rows(keep, window, batch) for keep in extra]
        control.set_cond_hint(
            condition, self.strength, self.percent_range, vae=self.vae, extra_concat=extra
        )
        return control.set_previous_controlnet(None)

    def cuts_by(self, window: Window | None) -> bool:
        """Return whether the control cuts its pictures itself by a window that it is told.

        As those of Advanced-ControlNet do, whose keyframes are of latents by their numbers.
        """
        is_of_latents = window is not None and not window.of_frames
        return is_of_latents and hasattr(self.control, _TOLD)

    def _cell(self) -> int:
        """Return the pixels of the control's picture a latent cell."""
        cell = self.control.compression_ratio
        if self.control.latent_format is None or self.vae is None:
            return cell
        # Of controls that read latents that is 1, and the VAE has its own on top.
        return cell * self.vae.spacial_compression_encode()


def _rows(rows: Tensor, window: Window | None, batch: int) -> Tensor:
    """Return those of a window, if there is one for each latent: [1 or batch,...]."""
    is_each = window is not None and len(rows) == window.total
    return in_window(rows, window, batch) if is_each else rows


def tell_window(control: ControlBase, window: Window | None) -> None:
    """Tell a control that has a place for it which latents are seen, or that all are."""
    if not hasattr(control, _TOLD):
        return
    is_of_latents = window is not None and not window.of_frames
    control.sub_idxs = list(window.indices) if is_of_latents else None
    control.full_latent_length = window.total if is_of_latents else 0
    control.context_length = len(window.indices) if is_of_latents else 0


def first_answer(
    control: ControlBase,
    run: tuple[Any, Callable],
    call: Sequence[Any],
    number: int,
    window: Window | None,
) -> Slots | None:
    """Return the first answer of a control, prepared for a `run`; `number`: its region's.

    Raises:
        ValueError: it is not made for this model.
    """
    try:
        # As ComfyUI prepares controls: on the thread of another GPU the mode is not set.
        with torch.inference_mode(not torch.is_grad_enabled()):
            control.pre_run(*run)
        tell_window(control, window)
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
