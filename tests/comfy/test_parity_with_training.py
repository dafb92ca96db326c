"""The same weights, latent, mask and condition give the same prediction in both worlds."""

from dataclasses import dataclass

import pytest
import torch
from adapters import adapter_file, make_setup
from controls import apply, region, sample
from diffusers import ControlNetModel, UNet2DConditionModel
from images import left, picture
from small_controls import unet
from small_models import CONTEXT, FAMILIES, WIDTH, build_model, conditioning, fill

from local_control.checkpoint import parse_adapter
from local_control.gating import blend_predictions
from training.models.controls import AdapterControl, ControlNetControl
from training.models.denoise import predict

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
    found = UNet2DConditionModel(
        in_channels=family.latent_channels,
        out_channels=family.latent_channels,
        cross_attention_dim=CONTEXT,
        **BLOCKS[name],
    )
    state = model.model.diffusion_model.state_dict()
    keys = comfy.utils.unet_to_diffusers(family.config)
    found.load_state_dict({theirs: state[keys[theirs]] for theirs in found.state_dict()})
    return found.eval()


@dataclass
class Case:
    """A latent, prompt, picture and mask, for a small model and for its twin in diffusers."""

    name: str
    size: tuple[int, int]
    t: int

    def __post_init__(self):
        self.model = build_model(self.name)
        self.unet = twin(self.name, self.model)
        channels = FAMILIES[self.name].latent_channels
        generator = torch.Generator().manual_seed(4)
        self.z_t = torch.randn(2, channels, *self.size, generator=generator)
        self.context = conditioning(0)[0][0].expand(2, -1, -1)
        self.image = picture(self.size).movedim(-1, 1)
        self.mask = left(self.size)[None]
        self.added, self.cond = None, {"c_crossattn": self.context}
        if self.name == "sdxl":
            pooled = conditioning(0)[0][1]["pooled_output"].expand(2, -1)
            height, width = (8 * side for side in self.size)
            ids = torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32)
            self.added = {"text_embeds": pooled, "time_ids": ids.expand(2, -1)}
            self.cond["y"] = self.model.model.encode_adm(
                pooled_output=pooled, height=height, width=width, device="cpu"
            )

    def by_diffusers(self, acting=None):
        """The prediction as training makes it."""
        t = torch.tensor([self.t, self.t])
        return predict(self.unet, self.z_t, t, self.context, acting, self.added)

    def by_comfy(self, control):
        """The prediction as sampling makes it under one of our controls."""
        model = self.model.model
        control.pre_run(model, lambda percent: 1000.0 * (1 - percent))
        sigma = model.model_sampling.sigma(torch.tensor([float(self.t)] * 2))
        x = self.z_t * (sigma.view(-1, 1, 1, 1) ** 2 + 1).sqrt()
        found = control.get_control(x, sigma, self.cond, 1, {})
        denoised = model.apply_model(x, sigma, control=found, transformer_options={}, **self.cond)
        return (x - denoised) / sigma.view(-1, 1, 1, 1)

    def assert_agree(self, acting, control):
        trained = self.by_diffusers(acting)
        error = (self.by_comfy(control) - trained).norm() / trained.norm()
        assert error < 1e-4
        assert (self.by_diffusers() - trained).norm() / trained.norm() > 1e-2


@pytest.mark.parametrize("size", [(16, 16), (8, 24), (16, 10)])
@pytest.mark.parametrize("t", [20, 500, 980])
@pytest.mark.parametrize("name", FAMILIES)
def test_noise_predictions_agree(comfy, name, t, size):
    case = Case(name, size, t)
    file = adapter_file(comfy, name)
    adapter = AdapterControl(parse_adapter(file.tensors, "adapter").build())
    acting = adapter.on(case.image.mean(1, keepdim=True), case.mask)

    hooks = comfy.module("nodes.sampler.control.adapter")
    loaded = hooks.LoadedAdapter.from_file(file, "test")
    where = comfy.module("local_control.region_mask").RegionMask(case.mask)
    region = hooks.AdapterRegion(adapter=loaded, condition=case.image, mask=where)
    case.assert_agree(acting, hooks.AdapterControl(region.adapter, [region]))


@pytest.mark.parametrize("size", [(16, 16), (8, 24), (16, 10)])
@pytest.mark.parametrize("t", [20, 980])
@pytest.mark.parametrize("name", FAMILIES)
def test_noise_predictions_under_a_controlnet_agree(comfy, name, t, size):
    case = Case(name, size, t)
    network = ControlNetModel.from_unet(case.unet).eval()
    fill(network, seed=7)
    trained = ControlNetControl(network)
    strength = 0.7
    acting = trained.on(case.image, case.mask, strength)

    hooks = comfy.module("nodes.sampler.control.any")
    regions = comfy.module("nodes.sampler.control.any_region")
    where = comfy.module("local_control.region_mask").RegionMask(case.mask)
    region = regions.ControlRegion(
        control=comfy_controlnet(case.model, trained.file({})),
        condition=case.image,
        mask=where,
        strength=strength,
    )
    case.assert_agree(acting, hooks.GatedControl(region))


def comfy_controlnet(model, file):
    """ComfyUI's own ControlNet, of the shape of a model, with the weights of a trained file."""
    found = unet(model).control
    found.control_model.load_state_dict(file.original())
    return found


def test_exact_regions_blend_predictions_as_the_trainers_evaluation_does(comfy):
    """One step without guidance, which returns the clean latent of its prediction."""
    setup = make_setup(comfy, "sd15")
    found = sample(setup, *apply(setup, region(setup, left()), outside="exact"), steps=1, cfg=1.0)

    twin_unet = twin("sd15", setup.model)
    adapter = parse_adapter(setup.file.tensors, "adapter").build()
    sampling = setup.model.get_model_object("model_sampling")
    noise = torch.randn(found.shape, generator=torch.Generator().manual_seed(3))
    t = torch.tensor([len(sampling.sigmas) - 1])
    context = conditioning(0)[0][0]
    acting = AdapterControl(adapter).on(picture().movedim(-1, 1).mean(1, keepdim=True))
    with_control, without = (predict(twin_unet, noise, t, context, a) for a in (acting, None))

    def clean(output):
        sigma = sampling.sigma_max
        return setup.model.model.process_latent_out((sigma**2 + 1).sqrt() * noise - sigma * output)

    wanted = clean(blend_predictions(with_control, without, left()[None]))
    error = (found - wanted).norm() / wanted.norm()
    assert error < 1e-4
    assert (found - clean(with_control)).norm() / wanted.norm() > 100 * error
    assert (found - clean(without)).norm() / wanted.norm() > 100 * error
