"""Which part of the picture a prediction sees: all of it, or the area of an area condition.

ComfyUI narrows the latent to a condition's area and does not tell controls where that is. A wrapper
around its CALC_COND_BATCH notes the areas by the conditions' ids, for controls to look up.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.hooks
import comfy.utils
from comfy.patcher_extension import WrappersMP
from torch import Tensor

LATENT_FACTOR = 8
_KEY = "local_control_areas"

Size = tuple[int, int]


@dataclass(frozen=True)
class Frame:
    """size: (height, width) of the latent seen; whole: of all; corner: (top, left) in it."""

    size: Size
    whole: Size
    corner: Size = (0, 0)

    @property
    def is_whole(self) -> bool:
        """Whether all is seen."""
        return self.size == self.whole

    def show(self, picture: Tensor, method: str, factor: int = LATENT_FACTOR) -> Tensor:
        """The part of a picture [B,C,H,W] of the whole frame that is seen, `factor` pixels a cell.

        Scaled as ComfyUI scales a control's picture: to cover the frame, centred.
        """
        height, width = (side * factor for side in self.whole)
        scaled = comfy.utils.common_upscale(picture, width, height, method, "center")
        top, left = (side * factor for side in self.corner)
        height, width = (side * factor for side in self.size)
        return scaled[..., top : top + height, left : left + width]


@dataclass(frozen=True)
class _Areas:
    """The whole latent's (height, width), and the areas of conditions by their ids."""

    whole: Size
    by_id: Mapping[Any, Sequence[int]]

    def frame(self, condition_id: Any) -> Frame:
        area = self.by_id.get(condition_id)
        if area is None:
            return Frame(self.whole, self.whole)
        dims = len(area) // 2  # sizes of all dimensions, then corners of all
        corner = (int(area[-2]), int(area[-1]))
        size = (
            min(int(area[dims - 2]), self.whole[0] - corner[0]),
            min(int(area[dims - 1]), self.whole[1] - corner[1]),
        )
        return Frame(size, self.whole, corner)


def frames_of(
    x: Tensor, batched_number: int, transformer_options: Mapping[str, Any]
) -> list[Frame]:
    """What each of the conditions batched into `x` sees."""
    areas: _Areas | None = transformer_options.get(_KEY)
    size = (x.shape[-2], x.shape[-1])
    ids = transformer_options.get("uuids", ())
    if areas is None or len(ids) != batched_number:
        return [Frame(size, size)] * batched_number
    return [areas.frame(condition_id) for condition_id in ids]


def area_hooks(*more: Callable) -> comfy.hooks.HookGroup:
    """Hooks for a control's `extra_hooks` that let `frames_of` know the areas.

    more: further wrappers of CALC_COND_BATCH.
    """
    wrappers = {WrappersMP.CALC_COND_BATCH: {_KEY: [note_areas, *more]}}
    group = comfy.hooks.HookGroup()
    group.add(comfy.hooks.TransformerOptionsHook({"wrappers": wrappers}))
    return group


# Arguments behind `options` may come with newer versions of ComfyUI, so they are passed through.
def note_areas(
    executor: Any,
    model: Any,
    conds: Sequence,
    x: Tensor,
    timestep: Tensor,
    options: dict,
    *rest: Any,
) -> Any:
    """A wrapper of CALC_COND_BATCH that lets `frames_of` know the areas."""
    by_id = {
        entry["uuid"]: entry["area"]
        for cond in conds
        for entry in cond or ()
        if entry.get("area") is not None
    }
    areas = _Areas((x.shape[-2], x.shape[-1]), by_id)
    inner = {**options.get("transformer_options", {}), _KEY: areas}
    return executor(model, conds, x, timestep, {**options, "transformer_options": inner}, *rest)
