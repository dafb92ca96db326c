"""Whether a model has the places at which an adapter's features enter, and is of its family."""

from collections.abc import Mapping
from typing import Any

from ....local_control.adapter import AdapterConfig
from ....local_control.family import family_name
from .loaded import LoadedAdapter
from .view import LATENT_FACTOR

# Where the features of the four levels enter ComfyUI's UNet: input blocks counted from the first,
# and the middle block.
INPUT_BLOCKS = {"full": (2, 5, 8, 11), "light": (2, 5, 8, 11), "xl": (3, 5, 8)}
# Widths of the text embedding, which tell models apart whose UNets have the same channels.
_CONTEXT_WIDTHS = {"SD1.5": 768, "SD2": 1024}


def check_family(adapter: LoadedAdapter, number: int, model: object) -> None:
    """Raise ValueError if the model has no places for an adapter, or is of another family.

    number: its region's, 0 for none. A file that tells no family fits every model with the places.
    """
    config = getattr(model, "model_config", model)
    unet = getattr(config, "unet_config", {})
    detail = _missing_place(adapter.config, unet)
    if detail is None and not _is_told_another(adapter.told_family, unet):
        return
    found = type(config).__name__
    # Stock nodes apply an adapter everywhere, and have no regions to name.
    where = f" of region {number}" if number else ""
    raise ValueError(
        f"The adapter {adapter.name}{where} is for "
        f"{adapter.told_family or family_name(adapter.config)}, but the model is {found}"
        f"{detail or ''}; load an adapter for {found}, or a checkpoint of the adapter's family."
    )


def _is_told_another(family: str | None, unet: Mapping[str, Any]) -> bool:
    """Return whether a family with a text width of its own is told, and it is not the model's."""
    found = unet.get("context_dim")
    return (
        family in _CONTEXT_WIDTHS
        and found in _CONTEXT_WIDTHS.values()
        and found != _CONTEXT_WIDTHS[family]
    )


def _missing_place(config: AdapterConfig, unet: Mapping[str, Any]) -> str | None:
    """Return the first level whose features fit nowhere, in words; None if all of them fit."""
    places = _places(unet)
    if not places:
        return ""
    blocks = {f"input block {block}": block for block in INPUT_BLOCKS[config.kind]}
    blocks["the middle block"] = len(places) - 1
    levels = zip(config.channels, config.factors, blocks.items(), strict=False)
    for level, (channels, factor, (name, block)) in enumerate(levels, 1):
        scale = factor // LATENT_FACTOR
        found = places[block] if block < len(places) else None
        if found != (channels, scale):
            there = "does not exist" if found is None else "has {} at 1/{}".format(*found)
            return (
                f", whose UNet has no place for level {level} ({channels} channels at 1/{scale} of "
                f"the latent's sides, while {name} {there})"
            )
    return None


def _places(unet: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Return (channels, latent's sides over its own) of a UNet's input blocks and the middle.

    Empty for what is no UNet; in the order in which ComfyUI builds them (UNetModel).
    """
    if not {"model_channels", "channel_mult", "num_res_blocks"} <= unet.keys():
        return []
    width, multiples = unet["model_channels"], list(unet["channel_mult"])
    blocks = unet["num_res_blocks"]
    blocks = [blocks] * len(multiples) if isinstance(blocks, int) else blocks
    places = [(width, 1)]
    for level, (multiple, count) in enumerate(zip(multiples, blocks, strict=True)):
        places += [(width * multiple, 2**level)] * count
        if level < len(multiples) - 1:
            places.append((width * multiple, 2 ** (level + 1)))
    return [*places, places[-1]]
