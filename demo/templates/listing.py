"""All templates in the order in which the template browser lists them."""

from collections.abc import Callable
from dataclasses import dataclass

from . import graphs
from .canvas import Canvas
from .kits import DEMO, QWEN, SD15, SDXL, Kit


@dataclass(frozen=True)
class Template:
    """draw: puts the template's nodes on a canvas."""

    number: int
    draw: Callable[[Canvas, Kit], None]
    kit: Kit

    @property
    def name(self) -> str:
        """Return the name of its file, which the template browser shows."""
        return f"{self.number:02}_{self.draw.__name__}_{self.kit.suffix}"


# Which the demo's model runs, too.
_RUNNABLE = (
    graphs.one_node,
    graphs.one_region,
    graphs.several_regions,
    graphs.watch_and_time,
    graphs.guide_without_adapter,
    graphs.with_and_without,
    graphs.inpaint,
)
TEMPLATES = (
    *(Template(n, draw, s) for s in (DEMO, SD15) for n, draw in enumerate(_RUNNABLE, 1)),
    Template(8, graphs.one_region, SDXL),
    Template(9, graphs.controlnet_in_a_region, QWEN),
    Template(10, graphs.patch_in_a_region, QWEN),
    *(Template(11, graphs.hires, kit) for kit in (DEMO, SD15)),
)
