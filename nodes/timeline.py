"""What z0' Frames shows on itself: every step, its edge errors, and where in the sampling it is."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from comfy_api.v0_0_2 import io
from torch import Tensor

from ..local_control.steering import EdgeCurve
from .compare import save
from .pictures.charts import to_lists
from .pictures.decoding import to_views
from .pictures.rendering import fit_grid, grid_of, in_grid

SHOWN = "local_control_timeline"  # the name by which the script knows it
_FRAME = 512  # pixels of the longer side of a step, at most
_SHEET = 4096  # of all steps together


def timeline(
    steps: Tensor, curve: EdgeCurve, percents: Sequence[float], cls: type[io.ComfyNode]
) -> dict[str, list]:
    """Return what the pack's script draws on a node.

    steps: an IMAGE [S,H,W,3] of one picture's steps; percents: the share of the sampling of each.
    """
    views = to_views(steps.float().cpu())
    columns, rows = grid_of(len(views), views[0].size)
    views = fit_grid(views, min(_SHEET, _FRAME * max(columns, rows)))
    sheet = torch.from_numpy(np.array(in_grid(views))).float().div(255)[None]
    shown = {
        "sheet": save(sheet, cls),
        "columns": columns,
        "size": list(views[0].size),
        "steps": len(views),
        "bounds": step_bounds(percents, len(views)),
        **to_lists(curve),
    }
    return {SHOWN: [shown]}


def step_bounds(percents: Sequence[float], steps: int) -> list[float] | None:
    """Return the shares of the sampling between which each step lies, from 0 to 1: steps + 1.

    A control from one of them to a later one acts in all steps between both. None if the sampler
    has steps of its own, or goes back to more noise: then no two shares hold a step.
    """
    if len(percents) != steps or any(a >= b for a, b in pairwise(percents)):
        return None
    return [0.0, *(round((a + b) / 2, 3) for a, b in pairwise(percents)), 1.0]
