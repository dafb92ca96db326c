"""Adapters with random weights in small models of each family."""

from types import SimpleNamespace

import torch
from small_models import FAMILIES, build_model, conditioning


def adapter_file(comfy, family, in_channels=1, seed=1, kind=None):
    adapter = comfy.module("local_control.adapter")
    config = adapter.AdapterConfig(
        kind=kind or FAMILIES[family].adapter_kind,
        in_channels=in_channels,
        channels=FAMILIES[family].channels,
    )
    torch.manual_seed(seed)
    tensors = adapter.Adapter(config).state_dict()
    return comfy.module("local_control.checkpoint").AdapterFile(config, tensors)


def make_setup(comfy, family, **options):
    hooks = comfy.module("nodes.sampler.control.adapter")
    file = adapter_file(comfy, family, **options)
    loaded = hooks.LoadedAdapter.from_file(file, "test")
    return SimpleNamespace(
        comfy=comfy,
        family=family,
        model=build_model(family),
        control=hooks.AdapterControl(loaded),
        text=conditioning,
        channels=FAMILIES[family].latent_channels,
        vae=None,
        file=file,
        loaded=loaded,
    )


def core_control(setup):
    """The same weights, loaded by ComfyUI's own loader."""
    import comfy.controlnet

    return comfy.controlnet.load_t2i_adapter(dict(setup.file.tensors))
