"""Regions in view before sampling: where they are, and what each injection grid sees of them."""

import logging
import math
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from comfy_api.v0_0_2 import io, ui
from einops import rearrange
from torch import Tensor

from ..local_control.view import Size, View, cover
from .comfy_types import (
    CATEGORY,
    Regions,
    first_samples,
    from_comfy_image,
    make_schema,
    to_comfy_image,
)
from .inputs import check_sides, checked
from .pictures.cards import draw_card
from .pictures.drawing import colour_of, draw_outline, draw_words
from .region import AnyRegion
from .sampler.control.grids import cells_of, levels_at
from .sampler.control.view import LATENT_FACTOR, check_pictures
from .shared_inputs import size_inputs

log = logging.getLogger(__name__)

_LARGEST = 1024  # pixels of the longer side of what is drawn
_THIN = 0.25
_GRID = 0.6  # of the regions' colours over what is below them
_NO_REGIONS = "There are no regions to show: connect those of Local Control Region to regions."
_YELLOW = (250, 220, 60)
_LETTER = 7  # pixels of a letter's width


class PreviewRegions(io.ComfyNode):
    """LOCAL_REGIONS -> pictures, shown on the node: outlines, then the masks on every grid."""

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
                Regions.Input("regions", optional=True, tooltip="From Local Control Region."),
                *size_inputs(64, "Of the image; a connected latent is asked instead."),
                io.Latent.Input(
                    "latent",
                    optional=True,
                    tooltip="What will be sampled: its size in place of width and height, at 8 "
                    "pixels a cell if it does not tell another factor.",
                ),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="Shown below the regions, in place of their conditions.",
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
        width: int,
        height: int,
        regions: Sequence[AnyRegion] = (),
        latent: dict | None = None,
        image: Tensor | None = None,
    ) -> io.NodeOutput:
        """Return pictures of the frame rounded down to multiples of 8, as latents are.

        They are as large as the frame, and of large ones as far as is needed to see all.
        """
        if latent is not None:
            height, width = pixels_of(latent)
        check_sides(height, width, "The size of Preview Regions")
        frame = (height // LATENT_FACTOR * LATENT_FACTOR, width // LATENT_FACTOR * LATENT_FACTOR)
        scale = min(1, _LARGEST / max(frame))
        size = (max(1, round(frame[0] * scale)), max(1, round(frame[1] * scale)))
        if not regions:
            ground = torch.zeros(1, 3, *size) if image is None else covering(image, size)
            pictures, warnings, captions = [ground], [], [_NO_REGIONS]
        else:
            pictures, warnings, captions = draw_all(regions, frame, size, image)
        for warning in warnings:
            log.warning("%s", warning)
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


def draw_all(
    regions: Sequence[AnyRegion], frame: Size, size: Size, image: Tensor | None
) -> tuple[list[Tensor], list[str], list[str]]:
    """Return the outlines and a picture a grid, each [1,3,h,w], what is wrong, and the captions.

    frame: (H, W) in px, of which the grids are; size: (h, w) of what is drawn.
    """
    masks = [region.mask.union(size).cpu() for region in regions]
    below = conditions_of(regions, masks)
    if image is not None:
        below = covering(image, size) * _GRID
    grids = [
        {cell: on_grid(region, cell, frame) for cell in cells_of(region)} for region in regions
    ]
    warnings = [
        warning for number, grid in enumerate(grids, 1) for warning in thin_grids(number, grid)
    ]
    pictures, captions = [outlines(masks, below, warnings)], ["Regions"]
    for cell in sorted({cell for grid in grids for cell in grid}):
        layers = [
            enlarge(grid[cell], cell, frame, size) if cell in grid else None for grid in grids
        ]
        pictures.append(coloured(layers, below))
        captions.append(name_grid(regions, cell, frame))
    return pictures, warnings, captions


def covering(image: Tensor, size: Size) -> Tensor:
    """Return the first picture of an IMAGE, scaled to cover a size: [1,3,h,w]."""
    return cover(from_comfy_image(image[:1]), size, "area")


def grid_of(cell: int, frame: Size) -> Size:
    """Return the (rows, columns) of cells that cover a frame."""
    return -(-frame[0] // cell), -(-frame[1] // cell)


def on_grid(region: AnyRegion, cell: int, frame: Size) -> Tensor:
    """Return where a region acts on a grid of cells, as it is asked while sampling: [1,1,h,w]."""
    latent = (frame[0] // LATENT_FACTOR, frame[1] // LATENT_FACTOR)
    batch = len(region.mask.white)
    cells = region.mask.on_grid(grid_of(cell, frame), View(latent, latent), batch)
    return cells.amax(0, keepdim=True).cpu()


def enlarge(cells: Tensor, cell: int, frame: Size, size: Size) -> Tensor:
    """Return cells [1,1,h,w] over a picture of `size` px of the frame; the last ones are cut."""
    rows, columns = (
        ((torch.arange(n) + 0.5) * whole / n / cell).long()
        for n, whole in zip(size, frame, strict=True)
    )
    return cells[..., rows[:, None], columns]


def name_grid(regions: Sequence[AnyRegion], cell: int, frame: Size) -> str:
    """Return how many cells a grid has, and which levels of the regions' features it is."""
    levels = sorted({level for region in regions for level in levels_at(region, cell)})
    rows, columns = grid_of(cell, frame)
    words = f"{columns} x {rows} cells"
    if not levels:
        return words
    told = " and ".join(str(level) for level in levels)
    return f"Level{'s' if len(levels) > 1 else ''} {told}: {words}"


def thin_grids(number: int, grids: Mapping[int, Tensor]) -> list[str]:
    """Return a sentence for each grid, by its cell, of which a region fills no cell well."""
    found = []
    for cells in grids.values():
        most = cells.max().item()
        if most < _THIN:
            found.append(
                f"Region {number} fills no cell of the {cells.shape[-1]} x {cells.shape[-2]} grid "
                f"by more than {most:.0%}, so it hardly acts there; widen its mask or lower its "
                f"feather."
            )
    return found


def coloured(masks: Sequence[Tensor | None], below: Tensor) -> Tensor:
    """Return masks [1,1,H,W] in the regions' colours over a picture: [1,3,H,W]."""
    picture = (1 - _GRID) * below
    for i, mask in enumerate(masks):
        if mask is not None:
            picture = picture + _GRID * mask * colour_of(i).view(1, 3, 1, 1)
    return picture.clamp(0, 1)


def conditions_of(regions: Sequence[AnyRegion], masks: Sequence[Tensor]) -> Tensor:
    """Return the regions' first conditions where they act, dimmed: [1,3,h,w], as masks are."""
    size = (masks[0].shape[-2], masks[0].shape[-1])
    picture = torch.zeros(1, 3, *size)
    for region, mask in zip(regions, masks, strict=True):
        condition = cover(region.condition[:1, :3].cpu(), size, "area")
        picture = torch.maximum(picture, condition.expand_as(picture) * mask * _GRID)
    return picture


def outlines(masks: Sequence[Tensor], ground: Tensor, warnings: Sequence[str] = ()) -> Tensor:
    """Return a picture with the regions' borders and numbers, and what is wrong: [1,3,h,w]."""
    canvas = np.ascontiguousarray((ground[0].movedim(0, -1) * 255).byte().numpy())
    thick = max(1, min(canvas.shape[:2]) // 200)
    for i, mask in enumerate(masks):
        draw_outline(canvas, mask[0, 0].numpy(), i, thick)
    letters = max(24, canvas.shape[1] // _LETTER)
    lines = [line for warning in warnings for line in textwrap.wrap(warning, letters)]
    draw_words(canvas, [(line, _YELLOW) for line in lines])
    return torch.from_numpy(canvas).movedim(-1, 0).float().div(255)[None]
