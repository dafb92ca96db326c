"""A real ComfyUI in process, on the CPU, with the pack installed as a user installs it."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[2]))

from demo.workspace import prepare_demo_workspace
from testbed.inprocess import load_comfy


@pytest.fixture(scope="session")
def comfy(tmp_path_factory):
    """ComfyUI's node classes by id, and the pack's own modules by name."""
    return load_comfy(prepare_demo_workspace(tmp_path_factory.mktemp("comfy"), {}))


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(autouse=True)
def inference_mode():
    """ComfyUI executes every graph in inference mode."""
    with torch.inference_mode():
        yield
