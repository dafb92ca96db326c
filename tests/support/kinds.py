"""Every kind of control behind one interface: what the contract of parity asks of each."""

import inspect
from dataclasses import dataclass
from typing import Any

import adapters
import controls
import torch
from small_controls import BUILDERS
from small_models import FAMILIES

SIZE = (16, 16)
# Sampling multiplies rounding.
CLOSE = {"rtol": 1e-3, "atol": 5e-3}


@dataclass
class Kind:
    """A small model and a control of it; `helpers` is the module that applies and samples it."""

    name: str
    setup: Any
    helpers: Any

    @property
    def comfy(self):
        return self.setup.comfy

    def prompts(self):
        found = self.helpers.prompts
        return found() if self.helpers is adapters else found(self.setup)

    def sample(self, conds, **options):
        return self.helpers.sample(self.setup, *conds, **options)

    def free(self, **options):
        return self.sample(self.prompts(), **options)

    def local(self, mask, image=None, **options):
        return self.helpers.local(self.setup, mask, image, **options)

    def stock(self, image=None, **options):
        if self.helpers is adapters:
            return adapters.stock(self.setup, self.setup.control, image, **options)
        return controls.stock(self.setup, image, **options)

    def shape(self, size=SIZE, batch=1):
        if self.helpers is adapters:
            return (batch, FAMILIES[self.setup.family].latent_channels, *size)
        return controls.shape(self.setup, size, batch)


KINDS = [*(f"adapter {family}" for family in FAMILIES), *BUILDERS]


def make_kind(comfy, name):
    if name.startswith("adapter "):
        return Kind(name, adapters.make_setup(comfy, name.removeprefix("adapter ")), adapters)
    torch.manual_seed(0)  # some models draw tables of their own
    setup = BUILDERS[name]()
    setup.comfy, setup.name = comfy, name
    return Kind(name, setup, controls)


def picture(size=SIZE, batch=1, seed=2):
    return controls.picture(size, batch, seed)


def half(size=SIZE, top=False):
    return controls.half(size, top)


def windowed(
    model, length, dim=0, overlap=1, is_anchored=False, schedule="standard_static", retained=""
):
    """The model with ComfyUI's context windows; in newer versions, anchored ones also show the
    frame before theirs, and retained frames stand in each in the places of their numbers.
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
    options["latent_retain_index_list"] = retained
    known = inspect.signature(ContextWindowsManualNode.execute).parameters
    found = {key: value for key, value in options.items() if key in known}
    return ContextWindowsManualNode.execute(model, **found).result[0]


def stripes(count, size=SIZE):
    """A mask for each of `count` latents, each elsewhere."""
    masks = torch.zeros(count, 8 * size[0], 8 * size[1])
    for i in range(count):
        masks[i, :, 16 * i : 16 * i + 40] = 1
    return masks
