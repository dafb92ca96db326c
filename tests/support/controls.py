"""Small controls of every kind: applied by our nodes or stock ones, sampled."""

import torch

SIZE = (16, 16)


STEPS = 2


CLOSE = {"rtol": 1e-3, "atol": 1e-3}


def picture(size=SIZE, batch=1, seed=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, 8 * size[0], 8 * size[1], 3, generator=generator)


def half(size=SIZE, top=False):
    mask = torch.zeros(1, 8 * size[0], 8 * size[1])
    if top:
        mask[:, : 4 * size[0]] = 1
    else:
        mask[..., : 4 * size[1]] = 1
    return mask


def shape(setup, size, batch):
    frames = (setup.frames,) if hasattr(setup, "frames") else ()
    return (batch, setup.channels, *frames, *size)


def sample(setup, positive, negative, size=SIZE, batch=1, cfg=2.0, model=None, steps=STEPS):
    import comfy.sample

    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(shape(setup, size, batch), generator=generator)
    return comfy.sample.sample(
        model or setup.model,
        noise,
        steps,
        cfg,
        "euler",
        "simple",
        positive,
        negative,
        torch.zeros_like(noise),
        seed=0,
        disable_pbar=True,
    )


def prompts(setup):
    return setup.text(seed=0), setup.text(seed=1)


def local(setup, mask, image=None, positive=None, negative=None, outside="gated", **kwargs):
    first, second = prompts(setup)
    image = picture() if image is None else image
    nodes = setup.comfy.nodes
    options = {"control_net": setup.control, "image": image, "mask": mask} | kwargs
    regions = nodes["LocalControl_Region"].execute(**options).result[0]
    pair = positive or first, negative or second
    return nodes["LocalControl_Apply"].execute(*pair, regions, "add", setup.vae, outside).result


def stock(setup, image=None, positive=None, negative=None, **kwargs):
    first, second = prompts(setup)
    options = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0} | kwargs
    image = picture() if image is None else image
    return setup.comfy.nodes["ControlNetApplyAdvanced"]().apply_controlnet(
        positive or first, negative or second, setup.control, image, **options, vae=setup.vae
    )
