"""Small models with a control each, of ComfyUI's own classes: every family that has some."""

from types import SimpleNamespace

import torch
from small_models import CONTEXT, WIDTH, build_model, conditioning, fill


class PictureVae:
    """Stands for a VAE: the picture at an eighth of its size, repeated to 16 channels."""

    def __init__(self, frames=False):
        self.frames = frames

    def spacial_compression_encode(self):
        return 8

    def encode(self, pixels):
        small = torch.nn.functional.avg_pool2d(pixels[..., :3].movedim(-1, 1), 8)
        latent = small.repeat(1, 6, 1, 1)[:, :16]
        return latent[:, :, None] if self.frames else latent


def patcher(config_class, base_class, config, model_type):
    import comfy.model_base
    import comfy.model_patcher
    import comfy.supported_models

    settings = getattr(comfy.supported_models, config_class)(config)
    settings.set_inference_dtype(torch.float32, None)
    with torch.inference_mode(False):
        kind = comfy.model_base.ModelType[model_type]
        model = getattr(comfy.model_base, base_class)(settings, model_type=kind)
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


def sd15(union=False):
    import comfy.cldm.cldm

    model = build_model("sd15")
    config = {
        key: value
        for key, value in model.model.model_config.unet_config.items()
        if key not in ("out_channels", "transformer_depth_output", "disable_unet_model_creation")
    }
    if union:
        config["union_controlnet_num_control_type"] = 6
    network = comfy.cldm.cldm.ControlNet(hint_channels=3, **config | operations())
    return SimpleNamespace(
        model=model, control=control(network), text=conditioning, channels=4, vae=None
    )


def sdxl():
    import comfy.cldm.cldm

    model = build_model("sdxl")
    config = {
        key: value
        for key, value in model.model.model_config.unet_config.items()
        if key not in ("out_channels", "transformer_depth_output", "disable_unet_model_creation")
    }
    network = comfy.cldm.cldm.ControlNet(hint_channels=3, **config | operations())
    return SimpleNamespace(
        model=model, control=control(network), text=conditioning, channels=4, vae=None
    )


def flux(latent_input=True):
    import comfy.latent_formats
    import comfy.ldm.flux.controlnet

    config = {
        "image_model": "flux",
        "in_channels": 16,
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
    model = patcher("FluxSchnell", "Flux", dict(config), "FLOW")
    network = comfy.ldm.flux.controlnet.ControlNetFlux(
        latent_input=latent_input, control_latent_channels=16, **config | operations()
    )
    options = {"extra_conds": ["y", "guidance"]}
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


BUILDERS = {
    "sd15": sd15,
    "sdxl": sdxl,
    "flux": flux,
    "flux pictures": lambda: flux(latent_input=False),
    "sd3": sd3,
    "qwen": qwen,
}
