"""Two GPUs, emulated by the devices `cpu` and `cpu:0`."""

import pytest
import torch
from kinds import make_kind


def emulate(monkeypatch):
    """Let ComfyUI take both for GPUs; skips where it knows of one only."""
    from comfy import controlnet, model_management

    if not hasattr(controlnet.ControlBase, "deepclone_multigpu"):
        pytest.skip("this ComfyUI knows of one GPU only")

    def free(device=None, torch_free_too=False):
        return (1e12, 1e12) if torch_free_too else 1e12

    monkeypatch.setattr(model_management, "set_torch_device", lambda device: None)
    monkeypatch.setattr(model_management, "get_free_memory", free)


def on_two(kind):
    """The model of a kind, split over two devices."""
    return split(kind.setup.model, make_kind(kind.comfy, kind.name).setup.model)


def split(model, other):
    """A model split over two devices; `other` has the same weights."""
    model = model.clone()
    clone = model.clone(model_override=other.get_clone_model_override())
    clone.load_device = torch.device("cpu:0")
    clone.is_multigpu_base_clone = True
    model.set_additional_models("multigpu", [clone])
    model.match_multigpu_clones()
    return model
