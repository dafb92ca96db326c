"""The nodes; each file holds one family of them."""

from comfy_api.v0_0_2 import ComfyExtension, io

from .adapters import LoadAdapter
from .closed_loop import ClosedLoop
from .conditions import Condition
from .guidance import EdgeGuidance
from .patches import GatePatches
from .preview import PreviewRegions
from .regions import Apply, Region
from .scores import Score
from .z0 import Z0Frames, Z0Preview


class LocalControlExtension(ComfyExtension):
    """All nodes of the pack."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """In the order of the graph."""
        return [
            LoadAdapter,
            Condition,
            Region,
            Apply,
            PreviewRegions,
            GatePatches,
            Z0Preview,
            Z0Frames,
            EdgeGuidance,
            ClosedLoop,
            Score,
        ]
