"""A real ComfyUI in process, on the CPU, with the pack installed as a user installs it."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[2]))

from small_controls import wan
from small_models import build_model

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


@pytest.fixture
def model():
    """A small model of SD1.5's structure."""
    return build_model("sd15")


@pytest.fixture
def watch(comfy, monkeypatch):
    """What runs Preview z0': model and its options -> a watched model, its trace, what is shown."""
    import comfy.utils as utils

    shown = []

    def hook(value, total, image, node_id=None):
        shown.append((value, total, image))

    monkeypatch.setattr(utils, "PROGRESS_BAR_HOOK", hook)

    def run(model, **kwargs):
        node = comfy.prepared("LocalControl_Z0Preview", "7")
        watched, trace = node.execute(model, **kwargs).result
        return watched, trace, shown

    return run


@pytest.fixture
def video():
    """A small video model."""
    return wan()
