"""What tools that crop controls find in ours, and what they have made of it.

Tile upscalers and the like take a control's `cond_hint_original` [B,C,H,W], cut out the part of the
picture that they sample next, and put it into a copy of the control. So ours holds the conditions
and the masks of all its regions as channels, and what comes back is read as the regions' own.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ....local_control.region_mask import RegionMask
from ....local_control.view import cover
from .region import Region

_COLOURS = 3


class Hint:
    """The pictures of regions as one: for each its condition's colours, its mask, its blend."""

    def __init__(self, regions: Sequence[Region]) -> None:
        self._regions = tuple(regions)
        self._whole: Tensor | None = None

    @property
    def whole(self) -> Tensor:
        """Return [1 or B,C,H,W] of the largest picture's size, made when it is first asked for."""
        if self._whole is None:
            layers = [layer for region in self._regions for layer in _layers(region)]
            height, width = (max(x.shape[side] for x, _ in layers) for side in (-2, -1))
            count = max(len(x) for x, _ in layers)
            sized = [cover(x, (height, width), method) for x, method in layers]
            self._whole = torch.cat([x.expand(count, -1, -1, -1) for x in sized], 1)
        return self._whole

    def read(self, cut: Tensor) -> tuple[Region, ...]:
        """Return the regions as they are in what a tool has made of `whole`.

        Raises:
            ValueError: it has other channels.
        """
        sizes = [x.shape[1] for region in self._regions for x, _ in _layers(region)]
        if cut.ndim != 4 or cut.shape[1] != sum(sizes):
            raise ValueError(
                f"A tool has put a picture of its own (shape {tuple(cut.shape)}) into a control of "
                f"Apply Local Control, which has {sum(sizes)} channels of conditions and masks; "
                f"apply the regions after that tool's node, or let it crop what it finds."
            )
        layers = iter(cut.float().split(sizes, 1))
        found = []
        for region in self._regions:
            condition, mask = next(layers), RegionMask(next(layers))
            blend = None if region.blend is None else RegionMask(next(layers))
            found.append(replace(region, condition=condition, mask=mask, blend=blend))
        return tuple(found)


def _layers(region: Region) -> list[tuple[Tensor, str]]:
    """The pictures of a region, and how each is scaled."""
    layers = [(region.condition[:, :_COLOURS], "nearest-exact"), (region.mask.white, "area")]
    return layers if region.blend is None else [*layers, (region.blend.white, "area")]
