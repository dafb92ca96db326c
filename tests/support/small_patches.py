"""Small models with a control that is a patch of the model, of ComfyUI's own classes.

Newer versions of ComfyUI have all of them; `BUILDERS[name]` raises `MissingError` where one is not.
"""

import contextlib
from types import SimpleNamespace

import torch
from images import picture
from small_controls import PictureVae, operations, patcher, qwen, text
from small_models import CONTEXT, WAN, build_model, conditioning, fill

SIZE = 16


class MissingError(Exception):
    """This ComfyUI does not have the patch."""


class VideoVae(PictureVae):
    """Stands for a VAE of videos: one latent frame for the first picture and each four others."""

    def __init__(self):
        super().__init__(frames=True)

    def temporal_compression_decode(self):
        return 4

    def encode(self, pixels):
        return super().encode(pixels)[::4, :, 0].movedim(0, 1)[None]


@contextlib.contextmanager
def present():
    try:
        yield
    except (ImportError, AttributeError) as error:
        raise MissingError(f"this ComfyUI does not have it: {error}") from error


def network(module):
    """What Load Model Patch returns, of a module with random weights."""
    import comfy.model_patcher

    fill(module.eval().requires_grad_(False), seed=7)
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(module, load_device=cpu, offload_device=cpu)


def diffsynth():
    from comfy_extras import nodes_model_patch as nodes

    setup = qwen()
    module = nodes.QwenImageBlockWiseControlNet(num_layers=2, in_dim=64, dim=32, **operations())
    (patched,) = nodes.QwenImageDiffsynthControlnet().diffsynth_controlnet(
        setup.model, network(module), PictureVae(frames=True), picture(), 1.0
    )
    return SimpleNamespace(model=setup.model, patched=patched, text=setup.text, shape=(16, 1))


def zimage(**options):
    """Z-Image, which pads an image's tokens to a multiple of 32."""
    with present():
        import comfy.ldm.lumina.controlnet as controlnet
        from comfy_extras.nodes_model_patch import ZImageFunControlnet

    heads = {"dim": 256, "n_heads": 4, "n_kv_heads": 4, "multiple_of": 16}
    config = {
        "image_model": "lumina2",
        "patch_size": 2,
        "in_channels": 16,
        "cap_feat_dim": CONTEXT,
        "n_layers": 30,
        "n_refiner_layers": 2,
        "qk_norm": True,
        "axes_dims": [16, 24, 24],
        "axes_lens": [64, 64, 64],
        "rope_theta": 256.0,
        "ffn_dim_multiplier": 8 / 3,
        "z_image_modulation": True,
        "time_scale": 1000.0,
        "pad_tokens_multiple": 32,
        **heads,
    }
    model = patcher("ZImage", "Lumina2", config, "FLOW")
    with torch.inference_mode(False):
        for name in ("x_pad_token", "cap_pad_token"):
            getattr(model.model.diffusion_model, name).data.normal_()
    module = controlnet.ZImage_Control(**heads, **options, **operations())
    (patched,) = ZImageFunControlnet().diffsynth_controlnet(
        model, network(module), PictureVae(), picture(), 1.0
    )

    def prompt(seed=0):
        return text(CONTEXT, 16, tokens=7, seed=seed)

    return SimpleNamespace(model=model, patched=patched, text=prompt, shape=(16,))


def uni3c(frames=1, has_reference=False):
    """Wan with Uni3C; reference tokens come before those of the latent."""
    with present():
        import comfy.ldm.wan.uni3c
        from comfy_extras.nodes_model_patch import WanUni3CControlnetApply

    config = {**WAN, "model_type": "t2v", "num_layers": 3}
    if has_reference:
        config["in_dim_ref_conv"] = 16
    model = patcher("WAN21_T2V", "WAN21", config, "FLOW")
    module = comfy.ldm.wan.uni3c.WanUni3CControlnet(
        in_channels=36,
        conv_out_dim=24,
        dim=24,
        ffn_dim=32,
        num_heads=2,
        num_layers=2,
        time_embed_dim=24,
        out_proj_dim=24,
        add_channels=7,
        mid_channels=8,
        **operations(),
    )
    (patched,) = WanUni3CControlnetApply().apply_patch(
        model, network(module), VideoVae(), picture(batch=4 * frames - 3), 1.0, 0.0, 1.0
    )
    reference = torch.randn(1, 16, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(9))

    def prompt(seed=0):
        found = text(CONTEXT, 16, seed=seed)
        if has_reference:
            found[0][1]["reference_latents"] = [reference]
        return found

    return SimpleNamespace(model=model, patched=patched, text=prompt, shape=(16, frames))


def anima():
    """Anima with LLLite: patches before attention and MLP."""
    with present():
        import comfy.ldm.anima.lllite as lllite
        from comfy_extras.nodes_model_patch import AnimaLLLiteApply

    config = {
        "image_model": "anima",
        "max_img_h": 240,
        "max_img_w": 240,
        "max_frames": 128,
        "in_channels": 16,
        "out_channels": 16,
        "patch_spatial": 2,
        "patch_temporal": 1,
        "model_channels": 48,
        "concat_padding_mask": True,
        "crossattn_emb_channels": CONTEXT,
        "pos_emb_cls": "rope3d",
        "pos_emb_learnable": True,
        "pos_emb_interpolation": "crop",
        "min_fps": 1,
        "max_fps": 30,
        "use_adaln_lora": True,
        "adaln_lora_dim": 16,
        "num_blocks": 2,
        "num_heads": 2,
        "extra_per_block_abs_pos_emb": False,
        "rope_h_extrapolation_ratio": 4.0,
        "rope_w_extrapolation_ratio": 4.0,
        "rope_t_extrapolation_ratio": 1.0,
        "extra_h_extrapolation_ratio": 1.0,
        "extra_w_extrapolation_ratio": 1.0,
        "extra_t_extrapolation_ratio": 1.0,
        "rope_enable_fps_modulation": False,
    }
    model = patcher("Anima", "Anima", config, "FLOW")
    weights = lllite.AnimaLLLiteConditioning(3, 16, 16, 1, (), **operations()).state_dict()
    tensors = {f"lllite_conditioning1.{name}": value for name, value in weights.items()}
    weights = lllite.AnimaLLLiteModule(48, 16, 8, **operations()).state_dict()
    targets = ("self_attn_q_proj", "self_attn_k_proj", "self_attn_v_proj", "cross_attn_q_proj")
    for block in range(2):
        for target in (*targets, "mlp_layer1"):
            name = f"lllite_dit_blocks_{block}_{target}"
            tensors |= {f"{name}.{key}": value for key, value in weights.items()}
    module = lllite.AnimaLLLite(tensors, {}, **operations())
    (patched,) = AnimaLLLiteApply().apply_patch(model, network(module), picture(), 1.0, 0.0, 1.0)

    def prompt(seed=0):
        return text(CONTEXT, 16, seed=seed)

    return SimpleNamespace(model=model, patched=patched, text=prompt, shape=(16, 1))


def vace(frames=3):
    """Wan's VACE, whose control is part of the model and of the prompts."""
    config = {
        **WAN,
        "model_type": "vace",
        "num_layers": 4,
        "vace_layers": 2,
        "vace_in_dim": 96,
    }
    model = patcher("WAN21_Vace", "WAN21_Vace", config, "FLOW")
    generator = torch.Generator().manual_seed(9)
    control = torch.randn(1, 32, frames, SIZE, SIZE, generator=generator)
    own = {
        "vace_frames": [control],
        "vace_mask": [torch.ones(1, 64, frames, SIZE, SIZE)],
    }

    def prompt(seed=0, strength=1.0):
        ((embedding, values),) = text(CONTEXT, 16, seed=seed)
        return [[embedding, {**values, **own, "vace_strength": [strength]}]]

    return SimpleNamespace(
        model=model,
        patched=model,
        text=prompt,
        free=lambda seed: prompt(seed, strength=0.0),
        shape=(16, frames),
    )


class ScaledMaps(torch.nn.Module):
    """Stands for SUPIR's control network: a map for each place, of what the picture gives."""

    def control_model(self, hint, timesteps, x, context, y):
        return [hint[:, :1].expand(len(x), -1, -1, -1)] * 10


def scale(control, value, other=None, control_scale=1.0):
    """Stands for SUPIR's adapters between that network's maps and the UNet's."""
    both = value if other is None else torch.cat([other, value], 1)
    at_size = torch.nn.functional.interpolate(control, both.shape[-2:], mode="area")
    return torch.lerp(both, both * (1 + at_size), control_scale)


def supir():
    """SDXL with SUPIR's own patches of the UNet's maps."""
    with present():
        from comfy.ldm.supir.supir_patch import SUPIRPatch

    model = build_model("sdxl")
    hint = torch.randn(1, 4, SIZE, SIZE, generator=torch.Generator().manual_seed(4))
    places = 1 + 9 + 2  # the middle, output blocks, and before each enlargement
    module = network(ScaledMaps())
    patched = model.clone()
    SUPIRPatch(module, [scale] * places, hint, 1.0, 1.0).register(patched)
    return SimpleNamespace(model=model, patched=patched, text=conditioning, shape=(4,))


BUILDERS = {
    "Qwen DiffSynth": diffsynth,
    "Z-Image": lambda: zimage(n_control_layers=6),
    "Z-Image with a refiner": lambda: zimage(
        n_control_layers=3, additional_in_dim=17, refiner_control=True
    ),
    "Wan Uni3C": uni3c,
    "Wan Uni3C, a video": lambda: uni3c(frames=3),
    "Wan Uni3C, a reference": lambda: uni3c(frames=3, has_reference=True),
    "Wan VACE": vace,
    "Anima LLLite": anima,
    "SUPIR": supir,
}
