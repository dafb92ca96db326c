"""The demo checkpoint is the same model in ComfyUI and in diffusers."""

import pytest
import torch
from demo_server import random_base

from demo.base import LATENT_SHAPE, load_base, load_pipeline
from lab.make.latents import tokenize

PROMPTS = ["a cat", "a cat, an unknownword and (something else)", ""]


@pytest.fixture(scope="module")
def path(comfy, tmp_path_factory):
    import folder_paths

    folder = tmp_path_factory.mktemp("checkpoint")
    folder_paths.add_model_folder_path("checkpoints", str(folder))
    return random_base(folder / "random_demo.safetensors")


@pytest.fixture(scope="module")
def in_comfy(comfy, path):
    with torch.inference_mode():
        return comfy.call("CheckpointLoaderSimple", ckpt_name=path.name)


@pytest.fixture(scope="module")
def in_diffusers(path):
    return load_base(path)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_prompts_are_encoded_alike(comfy, in_comfy, in_diffusers, prompt):
    plain = prompt.replace("(", "").replace(")", "")
    by_comfy = comfy.call("CLIPTextEncode", clip=in_comfy[1], text=plain)[0][0][0]
    by_diffusers = in_diffusers.text(tokenize([plain])).last_hidden_state
    torch.testing.assert_close(by_comfy, by_diffusers, rtol=1e-4, atol=1e-4)


def test_pictures_are_encoded_and_decoded_alike(in_comfy, in_diffusers, generator):
    vae, scale = in_comfy[2], in_diffusers.latent_scale
    image = torch.rand(1, 128, 96, 3, generator=generator)
    latent = in_diffusers.autoencoder.encoder(image.movedim(-1, 1) * 2 - 1) * scale
    torch.testing.assert_close(vae.encode(image), latent, rtol=1e-3, atol=1e-4)
    decoded = in_diffusers.autoencoder.decoder(latent / scale).movedim(1, -1).add(1).div(2)
    torch.testing.assert_close(vae.decode(latent), decoded.clamp(0, 1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("t", [10, 600])
def test_noise_is_predicted_alike(in_comfy, in_diffusers, generator, t):
    z_t = torch.randn(1, *LATENT_SHAPE, generator=generator)
    context = torch.randn(1, 77, 128, generator=generator)
    model = in_comfy[0].model
    sigma = model.model_sampling.sigma(torch.tensor([float(t)]))
    x = z_t * (sigma**2 + 1).sqrt()
    denoised = model.apply_model(x, sigma, c_crossattn=context, transformer_options={})
    by_diffusers = in_diffusers.unet(z_t, torch.tensor([t]), context).sample
    by_comfy = (x - denoised) / sigma
    assert (by_comfy - by_diffusers).norm() / by_diffusers.norm() < 1e-4


def test_it_opens_as_a_diffusers_pipeline(path):
    pipeline = load_pipeline(path)
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline("a cat", num_inference_steps=2, height=128, width=128).images[0]
    assert image.size == (128, 128)


def test_other_families_are_not_taken_for_the_demo(comfy):
    from comfy.model_detection import model_config_from_unet_config

    config = {
        "model_channels": 320,
        "context_dim": 768,
        "in_channels": 4,
        "adm_in_channels": None,
        "use_linear_in_transformer": False,
        "use_temporal_attention": False,
    }
    found = model_config_from_unet_config(config)
    assert type(found).__name__ == "SD15"
