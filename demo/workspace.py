"""A ComfyUI base directory that knows the demo model: its family, its examples."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from testbed.comfyui import BUILD
from testbed.server import prepare_workspace
from testbed.workflow import EXAMPLES

from .examples import DEMO_EXAMPLES

FAMILY_PACK = "local_control_demo_family"
_FAMILY = Path(__file__).parent / "comfy_family"


def prepare_demo_workspace(
    folder: Path, models: Mapping[str, Sequence[Path]], packs: Mapping[str, Path] | None = None
) -> Path:
    """Return `folder`, made a base directory with our pack, the demo's family, and `models`.

    models, packs: as `prepare_workspace` takes them.
    """
    prepare_workspace(folder, models, {FAMILY_PACK: _FAMILY, **(packs or {})})
    target = folder / "custom_nodes" / "local_control" / EXAMPLES.name
    shutil.copytree(DEMO_EXAMPLES, target, dirs_exist_ok=True)
    return folder


def default_workspace() -> Path:
    """Return the folder in which the demo keeps its server's files."""
    return BUILD / "workspace"
