"""The nodes; each file holds one family of them."""

from comfy_api.v0_0_2 import ComfyExtension, io

from .all_in_one import LocalControl
from .apply import Apply
from .compare import Compare
from .condition import Condition
from .edge_guidance import EdgeGuidance
from .gate_patches import GatePatches
from .gate_predictions import GatePredictions
from .load_adapter import LoadAdapter
from .preview_regions import PreviewRegions
from .region import Region
from .score import Score
from .z0_frames import Z0Frames
from .z0_preview import Z0Preview


class LocalControlExtension(ComfyExtension):
    """All nodes of the pack."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Return the nodes in the order of the graph."""
        return [
            LocalControl,
            LoadAdapter,
            Condition,
            Region,
            Apply,
            PreviewRegions,
            GatePatches,
            GatePredictions,
            Z0Preview,
            Z0Frames,
            EdgeGuidance,
            Score,
            Compare,
        ]
