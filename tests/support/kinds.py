"""Every kind of control behind one interface: what the contract of parity asks of each."""

import inspect
from dataclasses import dataclass
from typing import Any

import controls
import torch
from adapters import make_setup
from images import SIZE
from small_controls import BUILDERS
from small_models import FAMILIES


@dataclass
class Kind:
    """A small model and a control of it, by the functions of `controls`."""

    name: str
    setup: Any

    @property
    def comfy(self):
        return self.setup.comfy

    def prompts(self):
        return controls.prompts(self.setup)

    def sample(self, conds, **options):
        return controls.sample(self.setup, *conds, **options)

    def free(self, **options):
        return self.sample(self.prompts(), **options)

    def region(self, mask, image=None, **options):
        return controls.region(self.setup, mask, image, **options)

    def apply(self, regions, **options):
        return controls.apply(self.setup, regions, **options)

    def local(self, mask, image=None, **options):
        return controls.local(self.setup, mask, image, **options)

    def stock(self, image=None, **options):
        return controls.stock(self.setup, image, **options)

    def shape(self, size=SIZE, batch=1):
        return controls.shape(self.setup, size, batch)

    def cast(self, dtype):
        """Give the model and the control weights of this precision, as files have them."""
        control = self.setup.control
        own = (getattr(control, name, None) for name in ("control_model", "t2i_model"))
        cast([self.setup.model.model.diffusion_model, *filter(None, own)], dtype)


def cast(networks, dtype):
    """Give networks weights of a precision, and tell those of ComfyUI that ask for their own."""
    for network in networks:
        network.to(dtype)
        for name, module in network.named_modules():
            if isinstance(getattr(module, "dtype", None), torch.dtype):
                module.dtype = dtype
            if name.endswith("patch_embedding"):
                module.float()  # Wan's are, whatever its file has


KINDS = [*(f"adapter {family}" for family in FAMILIES), *BUILDERS]


def make_kind(comfy, name):
    torch.manual_seed(0)  # some models draw tables of their own
    if name.startswith("adapter "):
        return Kind(name, make_setup(comfy, name.removeprefix("adapter ")))
    setup = BUILDERS[name]()
    setup.comfy, setup.name = comfy, name
    return Kind(name, setup)


def windowed(
    model,
    length,
    dim=0,
    overlap=1,
    is_anchored=False,
    schedule="standard_static",
    retained="",
    is_split=False,
):
    """The model with ComfyUI's context windows; in newer versions, anchored ones also show the
    frame before theirs, retained frames stand in each in the places of their numbers, and split
    ones have one of a prompt's conditions each.
    """
    from comfy_extras.nodes_context_windows import ContextWindowsManualNode

    options = {
        "context_length": length,
        "context_overlap": overlap,
        "context_schedule": schedule,
        "context_stride": 1,
        "closed_loop": False,
        "fuse_method": "pyramid",
        "dim": dim,
    }
    # Newer versions want these.
    options |= {"freenoise": False, "causal_window_fix": is_anchored}
    options |= {"latent_retain_index_list": retained, "split_conds_to_windows": is_split}
    known = inspect.signature(ContextWindowsManualNode.execute).parameters
    found = {key: value for key, value in options.items() if key in known}
    return ContextWindowsManualNode.execute(model, **found).result[0]
