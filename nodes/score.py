"""Adherence and freedom of a finished image, in numbers and in a picture."""

import math
from typing import Any

import torch
from comfy_api.v0_0_2 import io, ui
from torch import Tensor

from ..local_control.conditions import canny, colour
from ..local_control.masks import dilate
from ..local_control.metrics import diffcc, divergence, edge_match, leak
from ..local_control.region_mask import match_batch
from ..local_control.view import Size, cover
from .comfy_types import (
    CATEGORY,
    advanced,
    from_comfy_image,
    from_comfy_mask,
    make_schema,
    to_comfy_image,
)
from .inputs import check_least, checked
from .pictures.cards import draw_card
from .pictures.matches import match_map
from .shared_inputs import condition_inputs

_MADE = "edges: as in the node that made the condition."
_LEAST = 8  # pixels; DiffCC looks at pictures of an eighth of the size
# What the colours of a report mean, each word in its own.
LEGENDS = {
    "edges": (
        ("match", (0, 255, 0)),
        ("missing", (255, 0, 0)),
        ("invented", (90, 110, 255)),
        ("outside", (150, 150, 150)),
    ),
    "colour": (("error", (255, 0, 0)),),
}


class Score(io.ComfyNode):
    """IMAGE, condition and MASK -> numbers, words, and a picture that is shown on the node."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the schema; `uncontrolled`, of the same seed, tells how free the rest is."""
        return make_schema(
            ["compare", "metrics", "edge f1", "evaluate"],
            node_id="LocalControl_Score",
            display_name="Local Control Score",
            category=f"{CATEGORY}/score",
            description="How well the inside of the mask follows its condition, and how little the "
            "outside is changed by it.",
            inputs=[
                io.Image.Input("image", tooltip="The finished image."),
                io.Image.Input(
                    "condition",
                    tooltip="Edges (white on black), or colour blocks. As for sampling, it is "
                    "scaled to cover the image, and so is the mask.",
                ),
                io.Mask.Input("mask", tooltip="White = controlled; the mask of the region."),
                io.Combo.Input(
                    "kind",
                    options=["edges", "colour"],
                    default="edges",
                    tooltip="What is compared: edges, or blocks of colour.",
                ),
                advanced(
                    io.Int.Input(
                        "tolerance",
                        default=2,
                        min=0,
                        max=64,
                        tooltip="edges: pixels by which an edge may be off.",
                    )
                ),
                *condition_inputs(_MADE, _MADE, _MADE),
                io.Image.Input(
                    "uncontrolled", optional=True, tooltip="The same seed without control."
                ),
            ],
            outputs=[
                io.Float.Output(
                    display_name="adherence",
                    tooltip="How well the inside follows: F1 of edges, or 1 - error of colours.",
                ),
                io.Float.Output(
                    display_name="precision",
                    tooltip="The share of the image's edges inside that the condition has.",
                ),
                io.Float.Output(
                    display_name="recall",
                    tooltip="The share of the condition's edges inside that the image has.",
                ),
                io.Float.Output(
                    display_name="leak",
                    tooltip="Change outside over change inside; NaN without an uncontrolled image.",
                ),
                io.Float.Output(
                    display_name="change_outside",
                    tooltip="Mean change outside, 0 to 1; NaN without an uncontrolled image.",
                ),
                io.Image.Output(
                    display_name="report",
                    tooltip="Edges that match, are missing or invented; or errors of colour.",
                ),
                io.String.Output(display_name="text", tooltip="The same in words and numbers."),
            ],
            is_output_node=True,
        )

    @classmethod
    @checked
    def execute(
        cls,
        image: Tensor,
        condition: Tensor,
        mask: Tensor,
        kind: str,
        tolerance: int,
        low_threshold: int,
        high_threshold: int,
        blur: float,
        blocks: int,
        uncontrolled: Tensor | None = None,
    ) -> io.NodeOutput:
        """Return means over the batch, a report and words; what cannot be told is NaN."""
        check_least(image, _LEAST, "The image of Local Control Score")
        picture, wanted = from_comfy_image(image), from_comfy_image(condition)
        size = (picture.shape[-2], picture.shape[-1])
        white = cover(from_comfy_mask(mask), size, "area")
        check_inside(white, kind)
        white = for_each(picture, white, "mask")
        wanted = for_each(picture, wanted, "condition")
        if kind == "colour":
            found = colour_scores(picture, cover(wanted, size, "area"), white, blocks)
        else:
            edges = canny(picture, low_threshold, high_threshold, blur)
            found = edge_scores(edges, cover_lines(wanted, size), white, tolerance)
        report = found.pop("report")
        free = {"leak": float("nan"), "change outside": float("nan")}
        if uncontrolled is not None:
            other = from_comfy_image(uncontrolled)
            check_size(picture, other)
            other = for_each(picture, other, "uncontrolled image")
            free["leak"] = leak(picture, other, white).mean().item()
            free["change outside"] = divergence(picture, other, 1 - white).nanmean().item()
        numbers = found | free
        words = in_words(kind, numbers, is_compared=uncontrolled is not None)
        text = "\n".join([words, *in_numbers(numbers)])
        values = [numbers[key] for key in ("adherence", "precision", "recall", *free)]
        shown = to_comfy_image(draw_card(report, words, LEGENDS[kind]))
        return io.NodeOutput(
            *values, to_comfy_image(report), text, ui=ui.PreviewImage(shown, cls=cls)
        )


def in_words(kind: str, numbers: dict[str, float], is_compared: bool) -> str:
    """Return what the numbers say, in a line for a person; is_compared: with no control."""
    what = "Colours" if kind == "colour" else "Edges"
    words = f"{what} followed: {_percent(numbers['adherence'])}"
    if not is_compared:
        return f"{words}. Changed outside: needs an uncontrolled image"
    return f"{words}. Changed outside: {_percent(numbers['change outside'])}"


def in_numbers(numbers: dict[str, float]) -> list[str]:
    """Return a line for each number that could be told."""
    return [f"{name}: {value:.3f}" for name, value in numbers.items() if not math.isnan(value)]


def _percent(share: float) -> str:
    return "nothing to measure" if math.isnan(share) else f"{share:.0%}"


def for_each(image: Tensor, other: Tensor, what: str) -> Tensor:
    """Return one of `other` for each image; ValueError if they are neither one nor as many."""
    batch = len(image)
    return match_batch(other, batch, what, "image").expand(batch, *other.shape[1:])


def check_inside(mask: Tensor, kind: str) -> None:
    """Raise ValueError if there is nothing to measure; edges count where the mask is half white."""
    least = 0.5 if kind == "edges" else torch.finfo(mask.dtype).tiny
    if mask.amax((1, 2, 3)).min() < least:
        raise ValueError(
            "The mask of Local Control Score is all black or nearly so, which leaves no inside to "
            "measure; give it the region's mask, white where the image is controlled."
        )


def check_size(image: Tensor, uncontrolled: Tensor) -> None:
    """Raise ValueError if they cannot be of the same seed."""
    if uncontrolled.shape[-2:] != image.shape[-2:]:
        raise ValueError(
            f"The uncontrolled image is {uncontrolled.shape[-1]} x {uncontrolled.shape[-2]}, but "
            f"the image is {image.shape[-1]} x {image.shape[-2]}; sample both from latents of one "
            f"size and with one seed."
        )


def cover_lines(edges: Tensor, size: Size) -> Tensor:
    """Return edges [B,3,h,w], white on black, scaled to cover `size`: 0 or 1, no line lost.

    -> [B,1,H,W]
    """
    lines = (edges.amax(1, keepdim=True) >= 0.5).float()
    pixels = min(side / own for side, own in zip(edges.shape[-2:], size, strict=True))
    widened = dilate(lines, math.ceil((pixels - 1) / 2))
    return cover(widened, size, "nearest-exact")


def edge_scores(edges: Tensor, wanted: Tensor, mask: Tensor, tolerance: int) -> dict[str, Any]:
    """Return the F1 of edges inside the mask, and a picture of what matches, lacks, is new."""
    match = edge_match(edges, wanted, mask, tolerance)
    cells = diffcc(edges, wanted, mask)
    return {
        "adherence": match.f1.mean().item(),
        "precision": match.precision.mean().item(),
        "recall": match.recall.mean().item(),
        "DiffCC coincidence": cells["coincidence"].nanmean().item(),
        "report": match_map(edges, wanted, mask, tolerance),
    }


def colour_scores(image: Tensor, wanted: Tensor, mask: Tensor, blocks: int) -> dict[str, Any]:
    """Return 1 - the mean error of colour blocks inside the mask, and a picture of it."""
    found, target = colour(image, blocks), colour(wanted, blocks)
    adherence = 1 - divergence(found, target, mask).mean().item()
    error = (found - target).abs().mean(1, keepdim=True) * mask
    shown = torch.cat([error, torch.zeros_like(error), torch.zeros_like(error)], 1) + 0.3 * image
    return {
        "adherence": adherence,
        "precision": float("nan"),
        "recall": float("nan"),
        "report": shown.clamp(0, 1),
    }
