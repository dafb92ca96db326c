"""A real ComfyUI in process, on the CPU, with the pack installed as a user installs it."""

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))

from demo.comfyui import comfyui_path  # noqa: E402
from demo.pack import install_pack  # noqa: E402

# Before the project's root: its folder `nodes` would hide ComfyUI's module of that name.
sys.path.insert(0, str(comfyui_path()))


@pytest.fixture(scope="session")
def comfy(tmp_path_factory):
    """ComfyUI's node classes by id, and the pack's own modules by name."""
    workspace = tmp_path_factory.mktemp("comfy")
    for folder in ("models/checkpoints", "models/controlnet", "custom_nodes", "input", "output"):
        (workspace / folder).mkdir(parents=True)
    import comfy.cli_args

    comfy.cli_args.args.cpu = True
    comfy.cli_args.args.base_directory = str(workspace)

    import nodes

    pack = install_pack(workspace / "custom_nodes")
    family = ROOT / "demo" / "comfy_family"

    async def load():
        return [await nodes.load_custom_node(str(path)) for path in (pack, family)]

    assert asyncio.run(load()) == [True, True]
    prefix = str(pack).replace(".", "_x_")
    return SimpleNamespace(
        nodes=nodes.NODE_CLASS_MAPPINGS,
        module=lambda name: sys.modules[f"{prefix}.{name}"],
        workspace=workspace,
        family=sys.modules[str(family).replace(".", "_x_")],
    )


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(autouse=True)
def inference_mode():
    """ComfyUI executes every graph in inference mode."""
    with torch.inference_mode():
        yield
