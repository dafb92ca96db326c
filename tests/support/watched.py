"""Samplings with a watched model, and VAEs to look at them with."""

from contextlib import contextmanager

import torch
from small_models import conditioning, fill

SIZE = 16


def sample_model(model, steps=4, sampler="euler", batch=1, channels=4, cfg=3.0, **kwargs):
    import comfy.sample

    shape = (batch, channels, SIZE, SIZE)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    return comfy.sample.sample(
        model,
        noise,
        steps,
        cfg,
        sampler,
        "normal",
        conditioning(0),
        conditioning(1),
        torch.zeros(shape),
        seed=0,
        disable_pbar=True,
        **kwargs,
    )


def frames(comfy, trace, samples, vae=None):
    return comfy.call("LocalControl_Z0Frames", latent={"samples": samples}, z0_trace=trace, vae=vae)


def with_preview(comfy, model, live):
    """The model with a preview that stands in for the node's own."""
    trace = comfy.module("nodes.sampler.z0.trace").Z0Trace()
    return comfy.module("nodes.sampler.z0.watch").watch_z0(model, trace, lambda run, noise: live)


def shown_pictures(shown):
    return [image[1] for _, _, image in shown if image is not None]


class VideoDecoder:
    """Stands for a video VAE: four pictures for a latent frame, an eighth in size."""

    class Network(torch.nn.Module):
        def decode(self, latent):
            large = torch.nn.functional.interpolate(latent[:, :3], scale_factor=(1, 8, 8))
            return large.repeat_interleave(4, 2)

    latent_dim = 3

    def __init__(self):
        self.first_stage_model = self.Network()

    @staticmethod
    def process_output(pictures):
        return pictures

    def encode(self, pictures):
        raise NotImplementedError

    def decode(self, latent):
        return self.first_stage_model.decode(latent).movedim(1, -1)


def sample_video(model, setup, batch=1, steps=2):
    import comfy.sample

    shape = (batch, 16, 3, SIZE, SIZE)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    prompts = setup.text(0), setup.text(1)
    options = {"seed": 0, "disable_pbar": True}
    return comfy.sample.sample(
        model, noise, steps, 2.0, "euler", "simple", *prompts, torch.zeros(shape), **options
    )


@contextmanager
def prompt(number):
    """What ComfyUI tells of the prompt that runs."""
    from comfy_execution.utils import CurrentNodeContext

    with CurrentNodeContext(str(number), "3"):
        yield


def small_vae():
    from comfy.sd import VAE
    from comfy.taesd.taesd import TAESD

    with torch.inference_mode(False):
        taesd = TAESD().requires_grad_(False)
        fill(taesd.taesd_encoder)
        fill(taesd.taesd_decoder)
        return VAE(sd=taesd.state_dict())
