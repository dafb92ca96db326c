"""Regions in view before sampling: where they are, and what each injection grid sees of them."""

import logging
import math
import textwrap
from collections.abc import Sequence

import numpy as np
import torch
from comfy_api.v0_0_2 import io, ui
from einops import rearrange
from torch import Tensor

from ..local_control.masks import mask_on_grid
from ..local_control.view import Size, cover
from .comfy_types import CATEGORY, Regions, first_samples, make_schema, to_comfy_image
from .inputs import checked
from .pictures.cards import draw_card
from .pictures.drawing import colour_of, draw_outline, draw_words
from .region import AnyRegion
from .sampler.control.grids import cells_of
from .sampler.control.view import LATENT_FACTOR, check_pictures
from .shared_inputs import size_inputs

log = logging.getLogger(__name__)

_THIN = 0.25
_YELLOW = (250, 220, 60)
_LETTER = 7  # pixels of a letter's width


class PreviewRegions(io.ComfyNode):
    """LOCAL_REGIONS -> pictures, shown on the node: outlines, then the masks at every grid."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the schema; no sampling is needed."""
        return make_schema(
            ["preview mask", "show regions", "region"],
            node_id="LocalControl_PreviewRegions",
            display_name="Preview Regions",
            category=f"{CATEGORY}/regions",
            description="The regions' outlines, and their masks as each level of the model sees "
            "them. Warns of masks too thin to act.",
            inputs=[
                Regions.Input("regions", tooltip="From Local Control Region."),
                *size_inputs(64, "Of the image; a connected latent is asked instead."),
                io.Latent.Input(
                    "latent",
                    optional=True,
                    tooltip="What will be sampled: its size in place of width and height, at 8 "
                    "pixels a cell if it does not tell another factor.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="pictures", tooltip="Outlines, then one picture for each grid."
                ),
                io.String.Output(display_name="warnings", tooltip="Empty if all is well."),
            ],
            is_output_node=True,
        )

    @classmethod
    @checked
    def execute(
        cls,
        regions: tuple[AnyRegion, ...],
        width: int,
        height: int,
        latent: dict | None = None,
    ) -> io.NodeOutput:
        """Return pictures at the size rounded down to multiples of 8, as latents are."""
        if latent is not None:
            height, width = pixels_of(latent)
        height, width = (side // LATENT_FACTOR * LATENT_FACTOR for side in (height, width))
        masks = [region.mask.union((height, width)).cpu() for region in regions]
        conditions = [cover(region.condition[:1], (height, width), "area") for region in regions]
        warnings = [
            warning
            for number, (region, mask) in enumerate(zip(regions, masks, strict=True), 1)
            for warning in thin_grids(number, mask, cells_of(region))
        ]
        for warning in warnings:
            log.warning("%s", warning)
        pictures = [outlines(masks, conditions, warnings)]
        cells = sorted({cell for region in regions for cell in cells_of(region)})
        for cell in cells:
            seen = [
                at_grid(mask, cell) if cell in cells_of(region) else torch.zeros_like(mask)
                for region, mask in zip(regions, masks, strict=True)
            ]
            pictures.append(coloured(seen))
        captions = ["Regions", *(f"{width // cell} x {height // cell} cells" for cell in cells)]
        shown = to_comfy_image(compose(pictures, captions))
        return io.NodeOutput(
            to_comfy_image(torch.cat(pictures)),
            "\n".join(warnings),
            ui=ui.PreviewImage(shown, cls=cls),
        )


def pixels_of(latent: dict) -> Size:
    """Return the (height, width) of the picture of a LATENT, by the factor that it tells, or 8.

    Raises:
        ValueError: its samples are of no pictures.
    """
    samples = first_samples(latent)
    check_pictures(samples.shape, "Preview Regions")
    # Empty latents of newer versions of ComfyUI tell it; what a VAE has made does not.
    factor = latent.get("downscale_ratio_spacial") or LATENT_FACTOR
    return factor * samples.shape[-2], factor * samples.shape[-1]


def compose(pictures: Sequence[Tensor], captions: Sequence[str]) -> Tensor:
    """Return one picture of several [1,3,H,W], each over its caption, row by row."""
    cards = torch.cat([draw_card(p, text) for p, text in zip(pictures, captions, strict=True)])
    columns = math.ceil(math.sqrt(len(cards)))
    blank = cards.new_zeros(-len(cards) % columns, *cards.shape[1:])
    rows = torch.cat([cards, blank]).unflatten(0, (-1, columns))
    return rearrange(rows, "row column c h w -> 1 c (row h) (column w)")


def at_grid(mask: Tensor, cell: int) -> Tensor:
    """Return a mask as a grid of cells sees it, at full size again."""
    height, width = mask.shape[-2:]
    cells = mask_on_grid(mask, (-(-height // cell), -(-width // cell)))
    full = cells.repeat_interleave(cell, -2).repeat_interleave(cell, -1)
    return full[..., :height, :width]


def thin_grids(number: int, mask: Tensor, cells: Sequence[int]) -> list[str]:
    """Return a sentence for each grid at which a mask fills no cell well."""
    found = []
    for cell in cells:
        most = at_grid(mask, cell).max().item()
        if most < _THIN:
            grid = (-(-mask.shape[-1] // cell), -(-mask.shape[-2] // cell))
            found.append(
                f"Region {number} fills no cell of the {grid[0]} x {grid[1]} grid by more than "
                f"{most:.0%}, so it hardly acts there; widen its mask or lower its feather."
            )
    return found


def coloured(masks: Sequence[Tensor]) -> Tensor:
    """Return masks [1,1,H,W] in the regions' colours, added up: [1,3,H,W]."""
    layers = [mask * colour_of(i).view(1, 3, 1, 1) for i, mask in enumerate(masks)]
    return torch.stack(layers).sum(0).clamp(0, 1)


def outlines(
    masks: Sequence[Tensor], conditions: Sequence[Tensor], warnings: Sequence[str] = ()
) -> Tensor:
    """Return the regions' conditions where they act, borders, numbers, and what is wrong.

    -> [1,3,H,W]
    """
    ground = torch.zeros(1, 3, *masks[0].shape[-2:])
    for mask, condition in zip(masks, conditions, strict=True):
        ground = torch.maximum(ground, condition[:, :3].cpu().expand_as(ground) * mask * 0.6)
    canvas = np.ascontiguousarray((ground[0].movedim(0, -1) * 255).byte().numpy())
    thick = max(1, min(canvas.shape[:2]) // 200)
    for i, mask in enumerate(masks):
        draw_outline(canvas, mask[0, 0].numpy(), i, thick)
    letters = max(24, canvas.shape[1] // _LETTER)
    lines = [line for warning in warnings for line in textwrap.wrap(warning, letters)]
    draw_words(canvas, [(line, _YELLOW) for line in lines])
    return torch.from_numpy(canvas).movedim(-1, 0).float().div(255)[None]
