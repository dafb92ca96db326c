"""ComfyUI's own nodes that change what a model predicts: its guidance, its attention, caches."""

import importlib

import pytest
import torch

_CACHE = {"reuse_threshold": 0.5, "start_percent": 0.1, "end_percent": 0.95, "verbose": False}
_FREEU = {"b1": 1.3, "b2": 1.4, "s1": 0.9, "s2": 0.2}
_TILE = {"tile_size": 32, "swap_size": 2, "max_depth": 0, "scale_depth": False}
# Module, class and inputs.
GUIDANCE = {
    "perturbed attention": ("pag", "PerturbedAttentionGuidance", {"scale": 3.0}),
    "self attention": ("sag", "SelfAttentionGuidance", {"scale": 0.5, "blur_sigma": 2.0}),
    "adaptive projection": ("apg", "APG", {"eta": 0.5, "norm_threshold": 5.0, "momentum": 0.2}),
    "tangential damping": ("tcfg", "TCFG", {}),
    "cfg zero star": ("cfg", "CFGZeroStar", {}),
    "mahiro": ("mahiro", "Mahiro", {}),
}
# These act within one run of the model, so each part of the picture keeps to its own.
WITHIN_A_RUN = {
    "normalized attention": (
        "nag",
        "NAGuidance",
        {"nag_scale": 5.0, "nag_alpha": 0.5, "nag_tau": 1.5},
    ),
    "hypertile": ("hypertile", "HyperTile", _TILE),
    "token merging": ("tomesd", "TomePatchModel", {"ratio": 0.3}),
    "freeu": ("freelunch", "FreeU_V2", _FREEU),
    "easy cache": ("easycache", "EasyCacheNode", _CACHE),
    "lazy cache": ("easycache", "LazyCacheNode", _CACHE),
}
STOCK = GUIDANCE | WITHIN_A_RUN


def stock_node(name):
    """What makes a stock node of a model; skips where this ComfyUI has none."""
    file, node, inputs = STOCK[name]
    try:
        module = importlib.import_module(f"comfy_extras.nodes_{file}")
    except ModuleNotFoundError:
        pytest.skip(f"this ComfyUI has no {node}")
    return lambda model: _run(getattr(module, node), {"model": model, **inputs})


def _run(node, inputs):
    if hasattr(node, "execute"):
        return node.execute(**inputs)[0]
    return getattr(node(), node.FUNCTION)(**inputs)[0]


def seeded(sample):
    """A sampling in which nodes that draw, HyperTile's sides and merged tokens, draw the same."""

    def run(*args, **kwargs):
        torch.manual_seed(0)
        return sample(*args, **kwargs)

    return run
