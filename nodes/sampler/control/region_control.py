"""What every control with regions does; the kinds say what their regions add to the model."""

import uuid
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import torch
from comfy.controlnet import T2IAdapter
from comfy.model_base import BaseModel
from torch import Tensor

from ....local_control.gating import narrowest
from ....local_control.view import Size, View, Window
from .call import Call
from .ending import ending_hooks
from .recent import Recent
from .region import Region, Timing
from .slots import Slots, merge
from .view import LATENT_FACTOR, check_pictures, frames_in, views_of

R = TypeVar("R", bound=Region)
# Masks on the latent's grid that are kept: of windows, tiles and sets of regions that act.
_KEPT_BLENDS = 64
# Of fewer channels tools would take the mean, and ours are of conditions and masks.
_COLOURS = 3
# Of transformer_options: the `exact` of the controls that add nothing in this run.
OFF = "local_control_off"
# A region's place in its control, and the factor of its strength.
Acting = tuple[tuple[int, float], ...]


class RegionControl(T2IAdapter, Generic[R]):
    """A control object of one or several regions.

    ComfyUI has a copy of it for each GPU, so nothing in it is used by two threads. Tools that
    sample tiles know the controls that they cut pictures for by ComfyUI's classes, and set the
    `cond_hint` of those; so this is one of them, whose network nobody asks for.

    exact: None, or what the controls of one Apply node have in common if the predictions with and
    without them are blended. is_one_sided: whether it is of one prompt alone. is_tried: whether
    nothing is left that only asking it would tell.
    """

    # Whether only asking a control of this kind tells that it is not for the model.
    may_misfit = False

    def __init__(self, regions: Sequence[R] = ()) -> None:
        self._given = tuple(regions)
        self.exact: uuid.UUID | None = None
        self.is_one_sided = False
        self._blends: Recent[Tensor] = Recent(_KEPT_BLENDS)
        self._cut: Tensor | None = None
        self._cut_regions: tuple[R, ...] = ()
        self._timings: list[Timing] = []
        self._precision = torch.float32
        self.is_tried = not self.may_misfit
        self._used_tiles: Tensor | None = None
        super().__init__(None, _COLOURS, LATENT_FACTOR, "nearest-exact")
        self.extra_hooks = ending_hooks()
        # AnimateDiff-Evolved tells its windows to controls that have these.
        self.sub_idxs: list[int] | None = None
        self.full_latent_length = 0
        self.context_length = 0

    @abstractmethod
    def _new(self) -> "RegionControl[R]":
        """The same kind of control with the same regions and networks."""

    @abstractmethod
    def _read(self, hint: Tensor) -> tuple[R, ...]:
        """The regions in a picture that a node or a tool has put into this control."""

    @abstractmethod
    def _show(self) -> Tensor | None:
        """The picture of the given regions, for nodes and tools to read."""

    @abstractmethod
    def _add(self, regions: Sequence[R], acting: Acting, call: Call) -> Slots | None:
        """What the regions that act add to the model; None if nothing."""

    def _try(self, regions: Sequence[R], call: Call) -> None:
        """Raise ValueError at the first step if a region that acts later does not fit the model."""

    def _forget(self) -> None:
        """Drop what was made for a sampling."""

    # ComfyUI's controls have an attribute of this name, which nodes and tools read and set.
    @property
    def cond_hint_original(self) -> Tensor | None:
        """Return the picture [1 or B,C,H,W] that was set, or the one of the regions."""
        return self._show() if self._cut is None else self._cut

    @cond_hint_original.setter
    def cond_hint_original(self, picture: Tensor | None) -> None:
        self._cut = picture
        self._cut_regions = ()

    @property
    def regions(self) -> tuple[R, ...]:
        """Return the regions as they are in the picture that was set, or as they were given.

        Raises:
            ValueError: the picture has other channels than theirs.
        """
        if self._cut is None:
            return self._given
        if not self._cut_regions:
            self._cut_regions = self._read(self._cut)
        return self._cut_regions

    def copy(self) -> "RegionControl[R]":
        """Return a control of the same regions, without a predecessor."""
        new = self._new()
        new.exact = self.exact
        new.is_one_sided = self.is_one_sided
        # Not `copy_to`: it would have the picture of the regions made for nobody.
        new.cond_hint_original = self._cut
        new.strength = self.strength
        new.timestep_percent_range = self.timestep_percent_range
        new.extra_hooks = self.extra_hooks.clone() if self.extra_hooks else None
        return new

    def deepclone_multigpu(
        self, load_device: torch.device, autoregister: bool = False
    ) -> "RegionControl[R]":
        """Return a copy for another GPU, where networks that stay loaded are its own."""
        clone = self._on(load_device)
        clone.exact = self.exact
        clone.device = load_device
        if autoregister:
            self.multigpu_clones[load_device] = clone
        return clone

    def _on(self, device: torch.device) -> "RegionControl[R]":
        return self.copy()

    def scale_image_to(self, width: int, height: int) -> Size:
        """Return the size at which tools cut the picture: that of the latent's pixels."""
        return width, height

    def get_extra_hooks(self) -> list:
        """Return the hooks of the controls before this one.

        Our own note areas and the end, for all conditions alike, and are registered from
        `extra_hooks`. What this gives, ComfyUI also ties to the condition, as it must where weights
        change with it; newer versions then do without dynamic loading of the model.
        """
        previous = self.previous_controlnet
        return [] if previous is None else previous.get_extra_hooks()

    def pre_run(self, model: BaseModel, percent_to_timestep_function: Callable) -> None:
        """Called once before the first step."""
        super().pre_run(model, percent_to_timestep_function)
        self.forget_sampling()
        self._precision = model.manual_cast_dtype or model.get_dtype()
        self.is_tried = not self.may_misfit
        self._timings = [Timing(r, percent_to_timestep_function) for r in self.regions]

    def cleanup(self) -> None:
        """Called once after the last step."""
        super().cleanup()
        self.forget_sampling()

    def forget_sampling(self) -> None:
        """Drop what was made for a sampling, on all GPUs; its controls before this one stay."""
        self._forget()
        self._blends.forget()
        self.sub_idxs = None
        if self.cond_hint is self._used_tiles:  # else a tool has set it for the next sampling
            self.cond_hint = None
        self._used_tiles = None
        # Older versions of ComfyUI know of one GPU.
        for clone in getattr(self, "multigpu_clones", {}).values():
            clone.forget_sampling()

    def get_control(
        self,
        x_noisy: Tensor,
        t: Tensor,
        cond: dict,
        batched_number: int,
        transformer_options: dict,
    ) -> Slots | None:
        """Return what the regions that act at `t` add, merged with that of earlier controls.

        x_noisy [P*B,C,(T),h,w]: the latents of `batched_number` prompts; None if nothing acts.

        Raises:
            ValueError: the model is of no pictures, or masks or pictures do not fit the latents.
        """
        arguments = (x_noisy, t, cond, batched_number, transformer_options)
        previous = self.previous_controlnet
        found = None if previous is None else previous.get_control(*arguments)
        if self.exact in transformer_options.get(OFF, ()):
            return found
        acting = self._acting(float(t[0]))
        if not acting and self.is_tried:
            return found
        check_pictures(x_noisy.shape, self.name)
        regions, views = self._looked_at(x_noisy, batched_number, transformer_options)
        precision = narrowest(x_noisy.dtype, self._precision)
        call = Call(x_noisy, t, cond, transformer_options, views, precision)
        self.is_tried = True
        if not acting:
            self._try(regions, call)
            return found
        own = self._add(regions, acting, call)
        return found if own is None else merge(own, found)

    @property
    def name(self) -> str:
        """Return what messages call it, by the numbers of its regions."""
        numbers = [str(region.number) for region in self._given]
        if not numbers:
            return "An adapter of Load Local Adapter"  # in stock nodes, without regions
        return f"Region{'s' if len(numbers) > 1 else ''} {' and '.join(numbers)}"

    def acts(self, sigma: float) -> bool:
        """Return whether a region acts at a noise level."""
        return any(timing.acts(sigma) for timing in self._timings)

    def blend(self, x: Tensor, sigma: float, options: dict) -> Tensor | None:
        """Return where the regions act at a noise level in the latents `x` of one prompt.

        x [B,C,(T),h,w] -> [1 or B,1,(T),h,w] in 0..1, to be multiplied with it; None if nowhere.
        """
        acting = tuple(i for i, timing in enumerate(self._timings) if timing.acts(sigma))
        if not acting:
            return None
        (view,) = views_of(x.shape, 1, {**options, "uuids": ()}, self._window(len(x)))
        tiles = self._tiles(x)

        def add_up() -> Tensor:
            # A tool may have repeated them for all prompts.
            regions = self.regions if tiles is None else self._read(tiles[: len(x)])
            masks = [regions[i].mask for i in acting]
            parts = [mask.as_factor(x.shape, view, len(x), frames_in(x.shape)) for mask in masks]
            return torch.stack(torch.broadcast_tensors(*parts)).sum(0).clamp(0, 1).to(x)

        key = (acting, view, tiles, x.shape, x.dtype, x.device)
        found = self._blends.get_or(key, add_up)
        return found if found.any() else None

    def _window(self, count: int) -> Window | None:
        """The window of AnimateDiff-Evolved, if it is what `count` latents of a prompt are."""
        if self.sub_idxs is None or len(self.sub_idxs) != count:
            return None
        return Window(tuple(self.sub_idxs), self.full_latent_length)

    def _tiles(self, x: Tensor) -> Tensor | None:
        """The picture that a tool has cut for the latents `x` of tiles: one for each, or for all
        prompts; None if none has, or of what was sampled before.
        """
        tiles = self.cond_hint
        if tiles is None:
            return None
        height, width = (self.compression_ratio * side for side in x.shape[-2:])
        return tiles if tiles.shape[-2:] == (height, width) else None

    def _acting(self, sigma: float) -> Acting:
        """The regions that act at a noise level."""
        factors = ((i, timing.factor(sigma)) for i, timing in enumerate(self._timings))
        return tuple((i, factor) for i, factor in factors if factor is not None)

    def _looked_at(
        self, x: Tensor, batched_number: int, options: dict
    ) -> tuple[tuple[R, ...], tuple[View, ...]]:
        """The regions, and what each prompt sees of the frame that they cover."""
        tiles = self._tiles(x)
        self._used_tiles = self.cond_hint
        if tiles is not None:
            size = (x.shape[-2], x.shape[-1])
            count = 1 if len(tiles) == len(x) else batched_number
            return self._read(tiles), (View(size, size),) * count
        window = self._window(len(x) // batched_number)
        return self.regions, views_of(x.shape, batched_number, options, window)
