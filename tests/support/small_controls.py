"""Small models with a control each, of ComfyUI's own classes: every family that has some."""

from dataclasses import fields
from types import SimpleNamespace

import pytest
import torch
from small_models import CONTEXT, FAMILIES, WAN, WIDTH, build_model, conditioning, fill


class PictureVae:
    """Stands for a VAE: the picture at an eighth of its size, its colours repeated."""

    def __init__(self, frames=False, channels=16):
        self.frames = frames
        self.channels = channels

    def spacial_compression_encode(self):
        return 8

    def encode(self, pixels):
        small = torch.nn.functional.avg_pool2d(pixels[..., :3].movedim(-1, 1), 8)
        latent = small.repeat(1, 6, 1, 1)[:, : self.channels]
        return latent[:, :, None] if self.frames else latent


def patcher(config_class, base_class, config, model_type):
    import comfy.model_base
    import comfy.model_patcher
    import comfy.supported_models

    model_config = getattr(comfy.supported_models, config_class)(config)
    model_config.set_inference_dtype(torch.float32, None)
    with torch.inference_mode(False):
        kind = comfy.model_base.ModelType[model_type]
        model = getattr(comfy.model_base, base_class)(model_config, model_type=kind)
        model = model.eval().requires_grad_(False)
        fill(model.diffusion_model)
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(model, load_device=cpu, offload_device=cpu)


def control(network, **options):
    """ComfyUI's ControlNet around a network with random weights."""
    import comfy.controlnet

    fill(network.eval().requires_grad_(False), seed=7)
    options = {"load_device": torch.device("cpu")} | options
    return comfy.controlnet.ControlNet(network, **options)


def text(width, pooled, tokens=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    context = torch.randn(1, tokens, width, generator=generator)
    return [[context, {"pooled_output": torch.randn(1, pooled, generator=generator)}]]


def operations():
    import comfy.ops

    return {"operations": comfy.ops.disable_weight_init, "dtype": torch.float32, "device": "cpu"}


def unet(model, **more):
    """A ControlNet of the shape of a model's UNet."""
    import comfy.cldm.cldm

    dropped = ("out_channels", "transformer_depth_output", "disable_unet_model_creation")
    config = {k: v for k, v in model.model.model_config.unet_config.items() if k not in dropped}
    network = comfy.cldm.cldm.ControlNet(hint_channels=3, **config | more | operations())
    return SimpleNamespace(
        model=model, control=control(network), text=conditioning, channels=4, vae=None
    )


def sd15():
    return unet(build_model("sd15"))


def sdxl():
    return unet(build_model("sdxl"))


def union():
    """Union controls are written for SDXL's width of 320."""
    config = {
        **FAMILIES["sd15"].config,
        "model_channels": 320,
        "channel_mult": [1, 1],
        "num_res_blocks": [1, 1],
        "transformer_depth": [1, 1],
        "transformer_depth_output": [1, 1, 1, 1],
        "num_heads": 4,
        "use_checkpoint": False,
    }
    found = unet(patcher("SD15", "BaseModel", config, "EPS"), union_controlnet_num_control_type=6)
    found.control.set_extra_arg("control_type", [3])
    return found


def concatenating_flux():
    """A model of Flux that reads a second latent, as Flux Canny does."""
    return SimpleNamespace(
        model=patcher("FluxSchnell", "Flux", flux_config(in_channels=32), "FLOW"),
        text=lambda seed=0: text(CONTEXT, 16, seed=seed),
        channels=16,
    )


def flux_config(in_channels=16):
    import comfy.ldm.flux.model

    config = {
        "image_model": "flux",
        "in_channels": in_channels,
        "out_channels": 16,
        "patch_size": 2,
        "vec_in_dim": 16,
        "context_in_dim": CONTEXT,
        "hidden_size": WIDTH,
        "mlp_ratio": 2.0,
        "num_heads": 2,
        "depth": 3,
        "depth_single_blocks": 2,
        "axes_dim": [4, 6, 6],
        "theta": 10000,
        "qkv_bias": True,
        "guidance_embed": False,
    }
    if any(field.name == "txt_ids_dims" for field in fields(comfy.ldm.flux.model.FluxParams)):
        config["txt_ids_dims"] = []
    return config


def flux(latent_input=True, inpaint=False):
    import comfy.latent_formats
    import comfy.ldm.flux.controlnet

    config = flux_config()
    model = patcher("FluxSchnell", "Flux", dict(config), "FLOW")
    network = comfy.ldm.flux.controlnet.ControlNetFlux(
        latent_input=latent_input,
        control_latent_channels=17 if inpaint else 16,
        **config | operations(),
    )
    options = {"extra_conds": ["y", "guidance"], "concat_mask": inpaint}
    if latent_input:
        options |= {"compression_ratio": 1, "latent_format": comfy.latent_formats.Flux()}
    return SimpleNamespace(
        model=model,
        control=control(network, **options),
        text=lambda seed=0: text(CONTEXT, 16, seed=seed),
        channels=16,
        vae=PictureVae() if latent_input else None,
    )


def sd3():
    import comfy.cldm.mmdit
    import comfy.latent_formats

    config = {
        "in_channels": 16,
        "pos_embed_scaling_factor": None,
        "patch_size": 2,
        "depth": 2,
        "input_size": None,
        "adm_in_channels": 16,
        "num_patches": 16 * 16,
        "pos_embed_max_size": 16,
        "context_embedder_config": {
            "target": "torch.nn.Linear",
            "params": {"in_features": CONTEXT, "out_features": 128},
        },
    }
    model = patcher("SD3", "SD3", dict(config), "FLOW")
    network = comfy.cldm.mmdit.ControlNet(num_blocks=1, **config | operations())
    for module in (model.model.diffusion_model, network):  # a table that files bring along
        module.pos_embed.copy_(torch.randn(module.pos_embed.shape))
    options = {"compression_ratio": 1, "latent_format": comfy.latent_formats.SD3()}
    return SimpleNamespace(
        model=model,
        control=control(network, **options),
        text=lambda seed=0: text(CONTEXT, 16, seed=seed),
        channels=16,
        vae=PictureVae(),
    )


def qwen():
    import comfy.latent_formats
    import comfy.ldm.qwen_image.controlnet

    config = {
        "image_model": "qwen_image",
        "num_layers": 2,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": CONTEXT,
        "axes_dims_rope": (4, 6, 6),
    }
    model = patcher("QwenImage", "QwenImage", dict(config), "FLUX")
    network = comfy.ldm.qwen_image.controlnet.QwenImageControlNetModel(**config | operations())
    options = {"compression_ratio": 1, "latent_format": comfy.latent_formats.Wan21()}
    return SimpleNamespace(
        model=model,
        control=control(network, extra_conds=[], **options),
        text=lambda seed=0: text(CONTEXT, 16, seed=seed),
        channels=16,
        vae=PictureVae(frames=True),
        frames=1,
    )


def qwen_fun():
    """Newer versions of ComfyUI have it; it borrows layers of the model that it controls."""
    import comfy.controlnet
    import comfy.latent_formats

    if not hasattr(comfy.controlnet, "QwenFunControlNet"):
        pytest.skip("this ComfyUI has no QwenFunControlNet")
    from comfy.ldm.qwen_image.controlnet import QwenImageFunControlNetModel

    setup = qwen()
    network = QwenImageFunControlNetModel(
        control_in_features=132,
        inner_dim=32,
        num_attention_heads=2,
        attention_head_dim=16,
        num_control_blocks=2,
        injection_layers=(0, 1),
        **operations(),
    )
    fill(network.eval().requires_grad_(False), seed=7)
    setup.control = comfy.controlnet.QwenFunControlNet(
        network,
        compression_ratio=1,
        latent_format=comfy.latent_formats.Wan21(),
        load_device=torch.device("cpu"),
        extra_conds=[],
    )
    return setup


def lora():
    """The weights that a Control-LoRA adds to the model's own."""
    import comfy.controlnet

    found = sd15()
    own = ("input_hint_block", "zero_convs", "middle_block_out")
    network = found.control.control_model.state_dict()
    weights = {key: value for key, value in network.items() if key.startswith(own)}
    found.control = comfy.controlnet.ControlLora(weights)
    return found


def sd35():
    import comfy.cldm.dit_embedder
    import comfy.controlnet
    import comfy.latent_formats

    found = sd3()
    network = comfy.cldm.dit_embedder.ControlNetEmbedder(
        img_size=None,
        patch_size=2,
        in_chans=16,
        num_layers=1,
        main_model_double=2,
        double_y_emb=False,
        attention_head_dim=64,
        num_attention_heads=2,
        adm_in_channels=16,
        **operations(),
    )
    fill(network.eval().requires_grad_(False), seed=7)
    found.control = comfy.controlnet.ControlNetSD35(
        network,
        compression_ratio=1,
        latent_format=comfy.latent_formats.SD3(),
        load_device=torch.device("cpu"),
    )
    return found


def hunyuan():
    import comfy.latent_formats
    import comfy.ldm.hydit.controlnet

    config = {
        "image_model": "hydit",
        "hidden_size": WIDTH,
        "depth": 40,  # its controls are written for 19 skips
        "num_heads": 2,
        "mlp_ratio": 2.0,
        "text_states_dim": CONTEXT,
        "text_states_dim_t5": CONTEXT,
    }
    model = patcher("HunyuanDiT", "HunyuanDiT", dict(config), "V_PREDICTION")
    network = comfy.ldm.hydit.controlnet.HunYuanControlNet(**config | operations())
    options = {
        "compression_ratio": 1,
        "latent_format": comfy.latent_formats.SDXL(),
        "extra_conds": [
            "text_embedding_mask",
            "encoder_hidden_states_t5",
            "text_embedding_mask_t5",
            "image_meta_size",
        ],
    }

    def prompt(seed=0):
        generator = torch.Generator().manual_seed(seed)
        clip, t5 = (torch.randn(1, n, CONTEXT, generator=generator) for n in (77, 256))
        masks = {
            "attention_mask": torch.ones(1, 77),
            "attention_mask_mt5xl": torch.ones(1, 256),
        }
        return [[clip, {"conditioning_mt5xl": t5, **masks}]]

    return SimpleNamespace(
        model=model,
        control=control(network, **options),
        text=prompt,
        channels=4,
        vae=PictureVae(channels=4),
    )


def cascade():
    import comfy.controlnet
    import comfy.ldm.cascade.controlnet

    config = {
        "stable_cascade_stage": "c",
        "c_r": 16,
        "c_cond": WIDTH,
        "c_hidden": [WIDTH, WIDTH],
        "nhead": [2, 2],
        "blocks": [[1, 2], [2, 1]],
        "c_clip_text": CONTEXT,
        "c_clip_text_pooled": CONTEXT,
    }
    model = patcher("Stable_Cascade_C", "StableCascade_C", dict(config), "STABLE_CASCADE")
    network = comfy.ldm.cascade.controlnet.ControlNet(
        c_in=3, c_proj=WIDTH, proj_blocks=[0, 3, 5], bottleneck_mode="simple", **operations()
    )

    def prompt(seed=0):
        ((context, options),) = text(CONTEXT, CONTEXT, seed=seed)
        return [[context, {"pooled_output": options["pooled_output"][:, None]}]]

    fill(network.eval().requires_grad_(False), seed=7)
    return SimpleNamespace(
        model=model,
        control=comfy.controlnet.T2IAdapter(network, 3, 8, "bilinear"),
        text=prompt,
        channels=16,
        vae=None,
    )


def wan():
    """A video model; it has no controls of ComfyUI's own."""
    config = {**WAN, "model_type": "t2v", "num_layers": 1}
    return SimpleNamespace(
        model=patcher("WAN21_T2V", "WAN21", config, "FLOW"),
        text=lambda seed=0: text(CONTEXT, 16, seed=seed),
        channels=16,
    )


def concatenating_wan():
    """A video model that reads a second latent, as Wan Fun does; one frame."""
    config = {**WAN, "model_type": "t2v", "num_layers": 2, "in_dim": 32, "out_dim": 16}
    return SimpleNamespace(
        model=patcher("WAN21_T2V", "WAN21", config, "FLOW"),
        text=lambda seed=0: text(CONTEXT, 16, seed=seed),
        channels=16,
        frames=1,
    )


def causal_wan():
    """A video model that an autoregressive sampler runs block by block; two frames."""
    import comfy.model_base

    if not hasattr(comfy.model_base, "WAN21_CausalAR"):
        pytest.skip("this ComfyUI has no autoregressive models")
    config = {**WAN, "model_type": "t2v", "num_layers": 1}
    return SimpleNamespace(
        model=patcher("WAN21_CausalAR_T2V", "WAN21_CausalAR", config, "FLOW"),
        text=lambda seed=0: text(CONTEXT, 16, seed=seed),
        channels=16,
        frames=2,
        vae=None,
    )


BUILDERS = {
    "sd15": sd15,
    "union": union,
    "lora": lora,
    "sdxl": sdxl,
    "flux": flux,
    "flux pictures": lambda: flux(latent_input=False),
    "sd3": sd3,
    "sd35": sd35,
    "qwen": qwen,
    "qwen fun": qwen_fun,
    "hunyuan": hunyuan,
    "cascade": cascade,
}
