"""The way of a wire: straight where it can be, else around the nodes that are in between."""

from collections.abc import Sequence
from dataclasses import dataclass

from .sizes import TITLE

# Points that a wire goes through on its way from output to input.
Route = tuple[tuple[int, int], ...]

_ASIDE = 40  # how far beside a node a wire leaves its row
_NEAR = 25  # beside and above a node in the same column
_LANE = -76  # above all groups
_STEP = 14  # from lane to lane
_LANES = 4
TOP = _LANE - _STEP * _LANES
_SLOT = 24


@dataclass(frozen=True)
class Box:
    """A rectangle on the canvas; a node's has its title in it."""

    left: int
    top: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """Return the x at which it ends."""
        return self.left + self.width

    @property
    def bottom(self) -> int:
        """Return the y at which it ends."""
        return self.top + self.height


def slot_height(box: Box, slot: int) -> int:
    """Return the y of a node's input or output."""
    return box.top + TITLE + 14 + _SLOT * slot


def route(source: Box, output: int, target: Box, slot: int, boxes: Sequence[Box]) -> Route:
    """Return the points of a wire, none if nothing is in between.

    To a node further down in the column it runs beside the nodes and above that one; a long one
    has a lane above all groups.
    """
    if source.right > target.left:
        height = target.top - _NEAR
        return (source.right + _NEAR, height), (target.left - _NEAR, height)
    start = (source.right, slot_height(source, output))
    end = (target.left, slot_height(target, slot))
    others = [box for box in boxes if box not in (source, target)]
    if not any(crosses(start, end, box) for box in others):
        return ()
    lane = _LANE - _STEP * (output % _LANES)
    return (source.right + _ASIDE, lane), (target.left - _ASIDE, lane)


def crosses(start: tuple[int, int], end: tuple[int, int], box: Box) -> bool:
    """Return whether the straight line between two points runs behind a box."""
    (x0, y0), (x1, y1) = start, end
    left, right = max(min(x0, x1), box.left), min(max(x0, x1), box.right)
    if left >= right or x0 == x1:
        return False
    heights = [y0 + (y1 - y0) * (x - x0) / (x1 - x0) for x in (left, right)]
    return max(heights) > box.top and min(heights) < box.bottom
