"""Adapters in small models of each family: made, applied by our nodes or stock ones, sampled."""

from types import SimpleNamespace

import torch
from small_models import FAMILIES, build_model, conditioning

STEPS = 3


SIZE = (16, 16)


# Sampling multiplies rounding: latents here reach 14 and more.
CLOSE = {"rtol": 1e-3, "atol": 5e-3}


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
        Region=hooks.AdapterRegion,
        file=file,
        loaded=loaded,
    )


def picture(size=SIZE, batch=1, seed=2):
    generator = torch.Generator().manual_seed(seed)
    height, width = (8 * side for side in size)
    return torch.rand(batch, height, width, 3, generator=generator)


def left(size=SIZE):
    mask = torch.zeros(1, 8 * size[0], 8 * size[1])
    mask[..., : 4 * size[1]] = 1
    return mask


def sample(
    setup,
    positive,
    negative,
    size=SIZE,
    batch=1,
    cfg=4.0,
    model=None,
    steps=STEPS,
    sampler="euler",
    **kwargs,
):
    import comfy.sample

    generator = torch.Generator().manual_seed(3)
    shape = (batch, FAMILIES[setup.family].latent_channels, *size)
    latent = torch.zeros(shape)
    noise = torch.randn(shape, generator=generator)
    return comfy.sample.sample(
        model or setup.model,
        noise,
        steps,
        cfg,
        sampler,
        "normal",
        positive,
        negative,
        latent,
        seed=0,
        disable_pbar=True,
        **kwargs,
    )


def prompts():
    return conditioning(0), conditioning(1)


def region(setup, mask, image=None, regions=(), **kwargs):
    node = setup.comfy.nodes["LocalControl_Region"]
    image = picture() if image is None else image
    return node.execute(setup.control, image, mask, **kwargs, regions=regions).result[0]


def local(
    setup, mask, image=None, positive=None, negative=None, overlap="add", outside="gated", **kwargs
):
    regions = region(setup, mask, image, **kwargs)
    return apply(setup, regions, positive, negative, overlap, outside)


def apply(setup, regions, positive=None, negative=None, overlap="add", outside="gated"):
    first, second = prompts()
    node = setup.comfy.nodes["LocalControl_Apply"]
    pair = positive or first, negative or second
    return node.execute(*pair, regions, overlap, outside=outside).result


def stock(setup, control, image=None, positive=None, negative=None, **kwargs):
    first, second = prompts()
    options = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0} | kwargs
    node = setup.comfy.nodes["ControlNetApplyAdvanced"]()
    image = picture() if image is None else image
    return node.apply_controlnet(positive or first, negative or second, control, image, **options)


def core_control(setup):
    """The same weights, loaded by ComfyUI's own loader."""
    import comfy.controlnet

    return comfy.controlnet.load_t2i_adapter(dict(setup.file.tensors))
