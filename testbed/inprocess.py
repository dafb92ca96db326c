"""ComfyUI inside the running Python, on the CPU, with the packs of a workspace loaded."""

import asyncio
import atexit
import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from .comfyui import comfyui_path
from .pack import FOLDER


@dataclass(frozen=True)
class LoadedComfy:
    """ComfyUI's node classes by id; `pack` is the prefix of our modules' names."""

    nodes: Mapping[str, type]
    pack: str

    def call(self, node_id: str, **inputs: Any) -> tuple:
        """Return the outputs of one node, ours or stock."""
        node = self.nodes[node_id]
        if hasattr(node, "GET_SCHEMA"):
            return self.prepared(node_id).execute(**inputs).result
        return getattr(node(), node.FUNCTION)(**inputs)

    def prepared(self, node_id: str, unique_id: str = "1") -> type:
        """Return a V3 node's class as ComfyUI has it ready for a run, with its id in the graph."""
        hidden = {"UNIQUE_ID": unique_id}
        # Newer versions look for it under a key of its own.
        return self.nodes[node_id].PREPARE_CLASS_CLONE({**hidden, "hidden_inputs": hidden})

    def module(self, name: str) -> ModuleType:
        """Return a module of the pack as ComfyUI has loaded it, such as `nodes.region`."""
        return sys.modules[f"{self.pack}.{name}"]


def load_comfy(workspace: Path) -> LoadedComfy:
    """Return ComfyUI, imported on a workspace made by `prepare_workspace`; once a process."""
    # Before everything else: other folders named `nodes` would hide ComfyUI's module.
    sys.path.insert(0, str(comfyui_path()))
    import comfy.cli_args

    comfy.cli_args.args.cpu = True
    comfy.cli_args.args.base_directory = str(workspace)
    import comfy.model_management
    import comfy.utils

    nodes = importlib.import_module("nodes")  # ComfyUI's
    comfy.utils.set_progress_bar_enabled(False)
    # Models that are still loaded when Python ends complain of it.
    atexit.register(comfy.model_management.unload_all_models)

    ours = workspace / "custom_nodes" / FOLDER
    others = sorted(path for path in ours.parent.iterdir() if path.is_dir() and path != ours)

    async def load() -> list[bool]:
        return [await nodes.load_custom_node(str(path)) for path in (ours, *others)]

    if not all(asyncio.run(load())):
        raise RuntimeError("ComfyUI could not load the pack; its log above says why.")
    return LoadedComfy(nodes.NODE_CLASS_MAPPINGS, str(ours).replace(".", "_x_"))
