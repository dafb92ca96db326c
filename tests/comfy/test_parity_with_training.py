"""The same weights, latent, mask and condition give the same prediction in both worlds."""

import pytest
import torch
from adapters import adapter_file, apply, left, make_setup, picture, region, sample
from diffusers import UNet2DConditionModel
from small_models import CONTEXT, FAMILIES, WIDTH, build_model, conditioning

from local_control.checkpoint import parse_adapter
from local_control.gating import blend_predictions
from training.models.denoise import control_features, predict

BLOCKS = {
    "sd15": {
        "block_out_channels": (WIDTH, 2 * WIDTH, 4 * WIDTH, 4 * WIDTH),
        "attention_head_dim": 2,
    },
    "sdxl": {
        "block_out_channels": (WIDTH, 2 * WIDTH, 4 * WIDTH),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": (1, 1, 2),
        "transformer_layers_per_block": (1, 2, 2),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}
BLOCKS["demo"] = {**BLOCKS["sd15"], "attention_head_dim": (1, 2, 4, 4)}


def twin(name, model):
    """The diffusers UNet with the weights of a ComfyUI model."""
    import comfy.utils

    family = FAMILIES[name]
    unet = UNet2DConditionModel(
        in_channels=family.latent_channels,
        out_channels=family.latent_channels,
        cross_attention_dim=CONTEXT,
        **BLOCKS[name],
    )
    state = model.model.diffusion_model.state_dict()
    keys = comfy.utils.unet_to_diffusers(family.config)
    unet.load_state_dict({theirs: state[keys[theirs]] for theirs in unet.state_dict()})
    return unet.eval()


@pytest.mark.parametrize("size", [(16, 16), (8, 24), (16, 10)])
@pytest.mark.parametrize("t", [20, 500, 980])
@pytest.mark.parametrize("name", FAMILIES)
def test_noise_predictions_agree(comfy, name, t, size):
    family, model = FAMILIES[name], build_model(name)
    unet = twin(name, model)
    file = adapter_file(comfy, name)
    adapter = parse_adapter(file.tensors, "adapter").build()
    generator = torch.Generator().manual_seed(4)
    z_t = torch.randn(2, family.latent_channels, *size, generator=generator)
    context = conditioning(0)[0][0].expand(2, -1, -1)
    condition = picture(size).movedim(-1, 1).mean(1, keepdim=True)
    mask = left(size)[None]

    added, extra = None, {}
    if name == "sdxl":
        pooled = conditioning(0)[0][1]["pooled_output"].expand(2, -1)
        sides = [8 * size[0], 8 * size[1]]
        ids = torch.tensor([[*sides, 0, 0, *sides]], dtype=torch.float32).expand(2, -1)
        added = {"text_embeds": pooled, "time_ids": ids}
        extra["y"] = model.model.encode_adm(
            pooled_output=pooled, height=sides[0], width=sides[1], device="cpu"
        )
    features = control_features(adapter, condition, mask)
    by_diffusers = predict(unet, z_t, torch.tensor([t, t]), context, features, added)

    hooks = comfy.module("nodes.sampler.control.adapter")
    loaded = hooks.LoadedAdapter.from_file(file, "test")
    image = picture(size).movedim(-1, 1)
    where = comfy.module("local_control.region_mask").RegionMask(mask)
    region = hooks.AdapterRegion(adapter=loaded, condition=image, mask=where)
    control = hooks.AdapterControl(region.adapter, [region])
    control.pre_run(model.model, lambda percent: 1000.0 * (1 - percent))
    sigma = model.model.model_sampling.sigma(torch.tensor([float(t)] * 2))
    x = z_t * (sigma.view(-1, 1, 1, 1) ** 2 + 1).sqrt()
    denoised = model.model.apply_model(
        x,
        sigma,
        c_crossattn=context,
        control=control.get_control(x, sigma, {}, 1, {}),
        transformer_options={},
        **extra,
    )
    by_comfy = (x - denoised) / sigma.view(-1, 1, 1, 1)
    error = (by_comfy - by_diffusers).norm() / by_diffusers.norm()
    uncontrolled = predict(unet, z_t, torch.tensor([t, t]), context, None, added)
    assert error < 1e-4
    assert (uncontrolled - by_diffusers).norm() / by_diffusers.norm() > 1e-2


def test_exact_regions_blend_predictions_as_the_trainers_evaluation_does(comfy):
    """One step without guidance, which returns the clean latent of its prediction."""
    setup = make_setup(comfy, "sd15")
    found = sample(setup, *apply(setup, region(setup, left()), outside="exact"), steps=1, cfg=1.0)

    unet, adapter = twin("sd15", setup.model), parse_adapter(setup.file.tensors, "adapter").build()
    sampling = setup.model.get_model_object("model_sampling")
    noise = torch.randn(found.shape, generator=torch.Generator().manual_seed(3))
    t = torch.tensor([len(sampling.sigmas) - 1])
    context = conditioning(0)[0][0]
    features = control_features(adapter, picture().movedim(-1, 1).mean(1, keepdim=True))
    with_control, without = (predict(unet, noise, t, context, f) for f in (features, None))

    def clean(output):
        sigma = sampling.sigma_max
        return setup.model.model.process_latent_out((sigma**2 + 1).sqrt() * noise - sigma * output)

    wanted = clean(blend_predictions(with_control, without, left()[None]))
    error = (found - wanted).norm() / wanted.norm()
    assert error < 1e-4
    assert (found - clean(with_control)).norm() / wanted.norm() > 100 * error
    assert (found - clean(without)).norm() / wanted.norm() > 100 * error
