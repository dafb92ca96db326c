"""Small models of ComfyUI's own classes, with random weights."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Family:
    """How a small model of a family is built: `base` is ComfyUI's class, `config` what it lacks."""

    base: str
    config: dict
    adapter_kind: str
    channels: tuple[int, ...]
    latent_channels: int = 4


WIDTH = 32
CONTEXT = 64
WAN = {
    "image_model": "wan2.1",
    "dim": 24,
    "ffn_dim": WIDTH,
    "freq_dim": WIDTH,
    "text_dim": CONTEXT,
    "text_len": 16,
    "num_heads": 2,
}
_UNET = {
    "image_size": 32,
    "use_spatial_transformer": True,
    "legacy": False,
    "model_channels": WIDTH,
    "context_dim": CONTEXT,
    "use_temporal_attention": False,
    "adm_in_channels": None,
}
FAMILIES = {
    "sd15": Family(
        base="SD15",
        config={
            **_UNET,
            "in_channels": 4,
            "out_channels": 4,
            "channel_mult": [1, 2, 4, 4],
            "num_res_blocks": [2, 2, 2, 2],
            "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
            "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
            "transformer_depth_middle": 1,
            "use_linear_in_transformer": False,
        },
        adapter_kind="full",
        channels=(WIDTH, 2 * WIDTH, 4 * WIDTH, 4 * WIDTH),
    ),
    "sdxl": Family(
        base="SDXL",
        config={
            **_UNET,
            "in_channels": 4,
            "out_channels": 4,
            "channel_mult": [1, 2, 4],
            "num_res_blocks": [2, 2, 2],
            "transformer_depth": [0, 0, 2, 2, 2, 2],
            "transformer_depth_output": [0, 0, 0, 2, 2, 2, 2, 2, 2],
            "transformer_depth_middle": 2,
            "use_linear_in_transformer": True,
            "num_classes": "sequential",
            "adm_in_channels": 2816,
        },
        adapter_kind="xl",
        channels=(WIDTH, 2 * WIDTH, 4 * WIDTH, 4 * WIDTH),
    ),
}
FAMILIES["demo"] = Family(
    base="LocalControlDemo",
    config={**FAMILIES["sd15"].config, "in_channels": 8, "out_channels": 8},
    adapter_kind="full",
    channels=FAMILIES["sd15"].channels,
    latent_channels=8,
)


def build_model(name, prediction="EPS", seed=0):
    """A ModelPatcher of a small random model of one family."""
    import comfy.model_base
    import comfy.model_patcher
    import comfy.supported_models

    family = FAMILIES[name]
    classes = {cls.__name__: cls for cls in comfy.supported_models.models}
    model_config = classes[family.base]({**family.config, "use_checkpoint": False})
    if name == "sd15":
        model_config.unet_config["num_heads"] = 2
    model_config.set_inference_dtype(torch.float32, None)
    kind = comfy.model_base.ModelType[prediction]
    base = comfy.model_base.SDXL if name == "sdxl" else comfy.model_base.BaseModel
    with torch.inference_mode(False):
        model = base(model_config, model_type=kind).eval().requires_grad_(False)
        fill(model.diffusion_model, seed)
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(model, load_device=cpu, offload_device=cpu)


def fill(module, seed=0):
    """Random weights at a sound scale; ComfyUI's layers come without any."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            scale = (1 / parameter[0].numel()) ** 0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
        elif name.endswith("weight"):
            parameter.fill_(1.0)
        else:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.02)


def conditioning(seed=0, tokens=7):
    """A CONDITIONING as a text encoder would give it."""
    generator = torch.Generator().manual_seed(seed)
    text = torch.randn(1, tokens, CONTEXT, generator=generator)
    return [[text, {"pooled_output": torch.randn(1, 1280, generator=generator)}]]
