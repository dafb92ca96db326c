"""A small model's control of any kind: applied by our nodes or stock ones, and sampled.

A setup has `comfy`, the `model`, its `control`, prompts by `text(seed)`, the latent's `channels`,
its `frames` where it has some, and the `vae` that the control wants, or None.
"""

import torch
from images import SIZE, picture

STEPS = 2
# Sampling multiplies rounding: latents here reach 14 and more.
CLOSE = {"rtol": 1e-3, "atol": 5e-3}


def prompts(setup):
    return setup.text(seed=0), setup.text(seed=1)


def shape(setup, size=SIZE, batch=1):
    frames = (setup.frames,) if hasattr(setup, "frames") else ()
    return (batch, setup.channels, *frames, *size)


def sample(
    setup,
    positive,
    negative,
    size=SIZE,
    batch=1,
    cfg=2.0,
    model=None,
    steps=STEPS,
    sampler="euler",
    latent=None,
    **kwargs,
):
    import comfy.sample

    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(shape(setup, size, batch), generator=generator)
    return comfy.sample.sample(
        model or setup.model,
        noise,
        steps,
        cfg,
        sampler,
        "simple",
        positive,
        negative,
        torch.zeros_like(noise) if latent is None else latent,
        seed=0,
        disable_pbar=True,
        **kwargs,
    )


def sample_by_frame(setup, positive, negative, model=None):
    """What the autoregressive sampler makes, without guidance, of a model that it knows."""
    import comfy.sample
    import comfy.samplers

    model = model or setup.model
    noise = torch.randn(shape(setup), generator=torch.Generator().manual_seed(3))
    sampler = comfy.samplers.ksampler("ar_video", {"num_frame_per_block": 1})
    sampling = model.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(sampling, "simple", STEPS)
    return comfy.sample.sample_custom(
        model,
        noise,
        1.0,
        sampler,
        sigmas,
        positive,
        negative,
        torch.zeros_like(noise),
        seed=0,
        disable_pbar=True,
    )


def region(setup, mask, image=None, regions=(), **kwargs):
    image = picture() if image is None else image
    node = setup.comfy.nodes["LocalControl_Region"]
    return node.execute(setup.control, image, mask, **kwargs, regions=regions).result[0]


def apply(setup, regions, positive=None, negative=None, overlap="add", outside="gated"):
    first, second = prompts(setup)
    pair = positive or first, negative or second
    node = setup.comfy.nodes["LocalControl_Apply"]
    return node.execute(*pair, regions, overlap, setup.vae, outside).result


def local(
    setup, mask, image=None, positive=None, negative=None, overlap="add", outside="gated", **kwargs
):
    regions = region(setup, mask, image, **kwargs)
    return apply(setup, regions, positive, negative, overlap, outside)


def stock(setup, image=None, positive=None, negative=None, control=None, **kwargs):
    first, second = prompts(setup)
    options = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0} | kwargs
    node = setup.comfy.nodes["ControlNetApplyAdvanced"]()
    image = picture() if image is None else image
    pair = positive or first, negative or second
    control = setup.control if control is None else control
    return node.apply_controlnet(*pair, control, image, **options, vae=setup.vae)
