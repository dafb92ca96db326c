"""At which grids a region's control enters the model, as far as its class tells before sampling."""

import re

import comfy.cldm.cldm
from comfy.controlnet import ControlBase, ControlLora, ControlNet, T2IAdapter

from .adapter import AdapterRegion
from .any_region import ControlRegion
from .view import LATENT_FACTOR

# Pixels of the image behind a cell of each grid.
_OF_TOKENS = (16,)
_OF_CASCADE = (8,)  # its controls cover the latent whole
_USUAL = (8, 16, 32, 64)
# Input blocks a level in SD1.5 and SDXL, for which there are Control-LoRAs.
_LORA_BLOCKS = 3


def cells_of(region: AdapterRegion | ControlRegion) -> tuple[int, ...]:
    """Return the sides of the cells, in pixels of the image, at which a region is injected."""
    if isinstance(region, AdapterRegion):
        return tuple(dict.fromkeys(region.adapter.config.factors))
    return _cells_of_control(region.control)


def levels_at(region: AdapterRegion | ControlRegion, cell: int) -> list[int]:
    """Return which levels of an adapter's features, from 1 for the finest, have cells so large.

    Empty for other controls, whose levels are not told by numbers anywhere.
    """
    if not isinstance(region, AdapterRegion):
        return []
    factors = region.adapter.config.factors
    return [level for level, factor in enumerate(factors, 1) if factor == cell]


def _cells_of_control(control: ControlBase) -> tuple[int, ...]:
    if isinstance(control, ControlLora):
        blocks = sum(
            bool(re.fullmatch(r"zero_convs\.\d+\.0\.weight", k)) for k in control.control_weights
        )
        return _of_levels(blocks // _LORA_BLOCKS)
    if isinstance(control, T2IAdapter):
        return _OF_CASCADE
    if not isinstance(control, ControlNet):
        return _USUAL
    network = control.control_model
    if isinstance(network, comfy.cldm.cldm.ControlNet):
        return _of_levels(len(network.channel_mult))
    return _OF_TOKENS


def _of_levels(levels: int) -> tuple[int, ...]:
    return tuple(LATENT_FACTOR * 2**level for level in range(levels))
