"""Which part of the whole a call sees: the area of a condition, the window of a long batch.

ComfyUI narrows the latent to a condition's area and does not tell controls where that is. A wrapper
around its CALC_COND_BATCH notes the areas by the conditions' ids, for controls to look up. Context
windows are told by ComfyUI and AnimateDiff-Evolved, by the latter on the controls, too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import comfy.hooks
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ....local_control.view import Size, View, Window

# Pixels a latent cell of most autoencoders.
LATENT_FACTOR = 8
# Pixels a cell of latent formats that do not say it in every version of ComfyUI.
_CELLS = {
    "SC_Prior": 42,
    "SC_B": 4,
    "Flux2": 16,
    "LTXV": 32,
    "Wan22": 16,
    "HunyuanImage21": 32,
    "HunyuanVideo15": 16,
    "ChromaRadiance": 1,
}

_KEY = "local_control_areas"
_WHOLE = "local_control_whole"
_EVOLVED = "ad_params"  # what AnimateDiff-Evolved tells
_VIDEO = 2  # the dimension of frames
_PICTURES, _VIDEOS = 4, 5  # dimensions of their latents
_AREA_OF_FRAMES = 3  # dimensions of an area that selects frames
# Names under which ComfyUI's models keep the size of their patches, and the size of most.
_PATCH_NAMES = ("patch_size", "patch_spatial")
_USUAL_PATCH = 2


def pixels_per_cell(latent_format: Any) -> int:
    """Return how many pixels along its side a cell of a latent is decoded to."""
    told = getattr(latent_format, "spacial_downscale_ratio", None)
    if told is not None:
        return told
    names = (base.__name__ for base in type(latent_format).__mro__)
    return next((_CELLS[name] for name in names if name in _CELLS), LATENT_FACTOR)


@dataclass(frozen=True)
class _Areas:
    """The latent [B,C,(T),h,w] before any area was cut out, and the areas of conditions by id.

    patch: latent cells along the side of one of the model's tokens, if it says so.
    """

    shape: tuple[int, ...]
    by_id: Mapping[Any, Sequence[int]]
    patch: int | None

    @property
    def whole(self) -> Size:
        return self.shape[-2], self.shape[-1]

    def view(self, condition_id: Any, window: Window | None) -> View:
        area = self.by_id.get(condition_id)
        if area is None:
            return View(self.whole, self.whole, window=window)
        dims = len(area) // 2  # sizes of all dimensions, then corners of all
        corner = (int(area[-2]), int(area[-1]))
        size = (
            min(int(area[dims - 2]), self.whole[0] - corner[0]),
            min(int(area[dims - 1]), self.whole[1] - corner[1]),
        )
        return View(size, self.whole, corner, self._cut_frames(area, window))

    def _cut_frames(self, area: Sequence[int], window: Window | None) -> Window | None:
        """The frames of an area of a video, of those that a window shows."""
        if len(self.shape) != _VIDEOS or len(area) != 2 * _AREA_OF_FRAMES:
            return window
        total = self.shape[_VIDEO]
        seen = window or Window(tuple(range(total)), total, of_frames=True)
        shown = seen.indices[area[3] : area[3] + area[0]]
        is_cut = seen.of_frames and len(shown) < len(seen.indices)
        return replace(seen, indices=shown) if is_cut else window


def views_of(
    shape: Sequence[int],
    batched_number: int,
    options: Mapping[str, Any],
    window: Window | None = None,
) -> tuple[View, ...]:
    """Return what each of the conditions batched into a latent [B,C,(T),h,w] of `shape` sees.

    options: ComfyUI's transformer_options; window: one that they do not tell of.
    """
    window = window or window_of(options, shape[0] // batched_number)
    areas: _Areas | None = options.get(_KEY)
    ids = options.get("uuids", ())
    if areas is None or len(ids) != batched_number:
        size = (shape[-2], shape[-1])
        views = (View(size, size, window=window),) * batched_number
    else:
        views = tuple(areas.view(condition_id, window) for condition_id in ids)
    corner = _strip_corner(options)
    return views if corner is None else tuple(_in_strip(v, corner, options) for v in views)


def window_of(options: Mapping[str, Any], latents: int) -> Window | None:
    """Return the context window over latents or frames that transformer_options tell, or None.

    latents: how many of a prompt are seen.
    """
    found = options.get("context_window")
    if found is None:
        return _evolved_window(options.get(_EVOLVED), latents)
    if _is_strip(options):
        return None
    indices = _indices(found)
    whole = options.get(_WHOLE)
    # Older versions do not tell of how many latents the window is.
    total = getattr(found, "total_frames", 0) or (whole[found.dim] if whole else max(indices) + 1)
    return Window(tuple(indices), total, found.dim == _VIDEO)


def _evolved_window(told: Mapping[str, Any] | None, latents: int) -> Window | None:
    """The window over `latents` that AnimateDiff-Evolved tells; between two it tells the last."""
    indices = None if told is None else told["sub_idxs"]
    if indices is None or len(indices) != latents:
        return None
    return Window(tuple(indices), told["full_length"])


def _indices(window: Any) -> list[int]:
    """What a context window of ComfyUI shows, in its order."""
    indices = list(window.index_list)
    anchor = getattr(window, "causal_anchor_index", None)
    # ComfyUI puts this one before those of the window.
    return [anchor, *indices] if anchor is not None and anchor >= 0 else indices


def _is_strip(options: Mapping[str, Any]) -> bool:
    """Whether the context window is of rows or columns of the picture."""
    dims = len(options.get(_WHOLE, ()))
    return dims in (_PICTURES, _VIDEOS) and options["context_window"].dim >= dims - 2


def _strip_corner(options: Mapping[str, Any]) -> Size | None:
    """The (top, left) of a context window of rows or columns; None if there is none.

    Raises:
        ValueError: they are not one piece of the picture.
    """
    found = options.get("context_window")
    if found is None or not _is_strip(options):
        return None
    indices = _indices(found)
    first = indices[0]
    if indices != list(range(first, first + len(indices))):
        raise ValueError(
            f"The context windows are of rows or columns (dim {found.dim}) that are not side by "
            f"side, and no region has a place in them; choose the schedule standard_static."
        )
    return (first, 0) if found.dim == len(options[_WHOLE]) - 2 else (0, first)


def _in_strip(view: View, corner: Size, options: Mapping[str, Any]) -> View:
    """What is seen of a context window of rows or columns, as a part of the whole picture."""
    height, width = options[_WHOLE][-2:]
    moved = (view.corner[0] + corner[0], view.corner[1] + corner[1])
    return replace(view, whole=(height, width), corner=moved)


def frames_in(shape: Sequence[int]) -> int:
    """Return how many frames of a video a latent [B,C,(T),h,w] has; 1 of pictures."""
    return shape[_VIDEO] if len(shape) == _VIDEOS else 1


def check_pictures(shape: Sequence[int], owner: str) -> None:
    """Raise ValueError if a latent of `shape` is none of pictures or videos; owner: who asks."""
    if len(shape) in (_PICTURES, _VIDEOS):
        return
    has = f"{len(shape)} dimensions"
    if len(shape) == 3:
        has = f"{shape[1]} channels of {shape[2]} values in a row, as of sound or 3D shapes"
    raise ValueError(
        f"{owner} cannot act on this model, whose latents have {has}, while those of pictures and "
        f"videos have rows and columns; leave it out for such a model."
    )


def seen_shape(options: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the shape [B,C,(T),h,w] of the latent of a prompt, for what is not told it."""
    return options[_KEY].shape


def patch_side(options: Mapping[str, Any]) -> int:
    """Return the latent cells along the side of a token of the model that runs."""
    areas: _Areas | None = options.get(_KEY)
    return (areas and areas.patch) or _USUAL_PATCH


def view_wrappers(*before: Callable) -> dict[str, list[Callable]]:
    """Return what ComfyUI must call so that `views_of` knows all; before: of CALC_COND_BATCH."""
    return {
        WrappersMP.PREDICT_NOISE: [note_whole],
        WrappersMP.CALC_COND_BATCH: [*before, note_areas],
    }


def view_hooks(*before: Callable) -> comfy.hooks.HookGroup:
    """Return the same as hooks for a control's `extra_hooks`."""
    wrappers = {kind: {_KEY: row} for kind, row in view_wrappers(*before).items()}
    group = comfy.hooks.HookGroup()
    group.add(comfy.hooks.TransformerOptionsHook({"wrappers": wrappers}))
    return group


# Arguments behind `options` may come with newer versions of ComfyUI, so they are passed through.
def note_whole(executor: Any, x: Tensor, timestep: Tensor, options: dict, *rest: Any) -> Any:
    """Return the noise prediction, with the shape of all latents noted before any window.

    A wrapper of PREDICT_NOISE.
    """
    return executor(x, timestep, with_option(options, _WHOLE, tuple(x.shape)), *rest)


def note_areas(
    executor: Any,
    model: Any,
    conds: Sequence,
    x: Tensor,
    timestep: Tensor,
    options: dict,
    *rest: Any,
) -> Any:
    """Return the predictions of a batch, with the areas of conditions noted for controls.

    A wrapper of CALC_COND_BATCH.
    """
    by_id = {
        entry["uuid"]: entry["area"]
        for cond in conds
        for entry in cond or ()
        if entry.get("area") is not None
    }
    areas = _Areas(tuple(x.shape), by_id, _patch_of(model))
    return executor(model, conds, x, timestep, with_option(options, _KEY, areas), *rest)


def _patch_of(model: Any) -> int | None:
    network = getattr(model, "diffusion_model", None)
    found = next((getattr(network, n) for n in _PATCH_NAMES if hasattr(network, n)), None)
    return found[-1] if isinstance(found, Sequence) else found


def with_option(options: dict, key: str, value: object) -> dict:
    """Return model options with one more entry of transformer_options."""
    inner = {**options.get("transformer_options", {}), key: value}
    return {**options, "transformer_options": inner}
