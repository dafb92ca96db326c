"""The demo base model: SD1.5's structure at a fifth of its width, and its one-file checkpoint.

Latents have eight channels, not four: at 128 px a factor-8 latent of four channels blurs objects of
half the frame beyond recognition (27.7 dB, edges lost).

The checkpoint has the layout of a Stable Diffusion single file (UNet, text model, autoencoder), so
that stock ComfyUI nodes load it once the family is registered; `load_pipeline` opens the same file
with diffusers. Its token table holds only the rows that training has seen (`TOKEN_IDS_KEY` names
them); every other token of the stock tokenizer shares the last row, "some unknown word".
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from local_control.original import original_name

WEIGHTS = Path(__file__).parent / "weights"
CHECKPOINT = WEIGHTS / "local_control_demo.safetensors"
ADAPTERS = {
    "plain": WEIGHTS / "plain_canny_demo.safetensors",
    "local": WEIGHTS / "local_canny_demo.safetensors",
    "colour": WEIGHTS / "local_colour_demo.safetensors",
}
# What each of them reads.
CONDITIONS = {"plain": "canny", "local": "canny", "colour": "colour"}

IMAGE_SIZE = 128
LATENT_SHAPE = (8, 16, 16)
TEXT_WIDTH = 128
MAX_TOKENS = 77
HEAD_CHANNELS = 32
CHANNELS = (64, 128, 256, 256)
SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}
TOKEN_IDS_KEY = "cond_stage_model.token_ids"
TOKEN_TABLE_KEY = "text_model.embeddings.token_embedding.weight"
_TEXT_PREFIX = "cond_stage_model.transformer."
_UNET_PREFIX = "model.diffusion_model."
_VAE_PREFIX = "first_stage_model."
_VAE_SCALE_KEY = _VAE_PREFIX + "vae_scale"
_VOCABULARY = 49408


@dataclass
class Base:
    """The modules of the demo base. `token_ids` [N] are the stock ids of the table's first N rows;
    `latent_scale` brings latents to unit variance.
    """

    unet: UNet2DConditionModel
    text: CLIPTextModel
    autoencoder: AutoencoderTiny
    token_ids: Tensor
    latent_scale: float


def new_autoencoder() -> AutoencoderTiny:
    """Return an untrained TAESD autoencoder: factor 8, eight latent channels."""
    return AutoencoderTiny(latent_channels=LATENT_SHAPE[0])


def new_unet() -> UNet2DConditionModel:
    """Return an untrained UNet; diffusers reads `attention_head_dim` as the number of heads."""
    return UNet2DConditionModel(
        sample_size=LATENT_SHAPE[-1],
        in_channels=LATENT_SHAPE[0],
        out_channels=LATENT_SHAPE[0],
        block_out_channels=CHANNELS,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=tuple(width // HEAD_CHANNELS for width in CHANNELS),
    )


def new_text_model(vocabulary: int) -> CLIPTextModel:
    """Return an untrained CLIP text model with a table of `vocabulary` rows."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            num_hidden_layers=3,
            num_attention_heads=TEXT_WIDTH // HEAD_CHANNELS,
            max_position_embeddings=MAX_TOKENS,
            hidden_act="quick_gelu",
        )
    )


def load_tokenizer() -> CLIPTokenizer:
    """Return the stock CLIP tokenizer."""
    return CLIPTokenizer.from_pretrained(WEIGHTS / "tokenizer", model_max_length=MAX_TOKENS)


def compact_ids(ids: Tensor, token_ids: Tensor) -> Tensor:
    """Return the compact table's rows of stock token ids; `token_ids` [N] must be sorted."""
    rows = torch.searchsorted(token_ids, ids).clamp(max=len(token_ids) - 1)
    return torch.where(token_ids[rows] == ids, rows, len(token_ids))


def expand_token_table(table: Tensor, token_ids: Tensor, vocabulary: int) -> Tensor:
    """Return the full table [vocabulary,W] of a compact one [N+1,W]; its last row is the rest's."""
    full = table[-1].expand(vocabulary, -1).clone()
    full[token_ids] = table[:-1]
    return full


def vae_key(key: str) -> str:
    """Return an AutoencoderTiny key's name in ComfyUI's TAESD, whose decoder clamps first."""
    side, _, index, rest = key.split(".", 3)
    return f"taesd_{side}.{int(index) + (side == 'decoder')}.{rest}"


def save_checkpoint(base: Base, path: Path, metadata: dict[str, str]) -> None:
    """Write the base as one fp16 safetensors file."""
    tensors = {_UNET_PREFIX + original_name(k): v for k, v in base.unet.state_dict().items()}
    tensors |= {
        _TEXT_PREFIX + k: v for k, v in base.text.state_dict().items() if v.is_floating_point()
    }
    tensors |= {_VAE_PREFIX + vae_key(k): v for k, v in base.autoencoder.state_dict().items()}
    tensors = {k: v.detach().half().contiguous() for k, v in tensors.items()}
    tensors[_VAE_SCALE_KEY] = torch.tensor(1 / base.latent_scale)
    tensors[_VAE_PREFIX + "vae_shift"] = torch.tensor(0.0)
    tensors[TOKEN_IDS_KEY] = base.token_ids.to(torch.int32)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata=metadata)


def load_base(path: Path = CHECKPOINT) -> Base:
    """Return a checkpoint's diffusers and transformers modules, fp32, with the full token table."""
    tensors = load_file(path)
    latent_scale = 1 / tensors[_VAE_SCALE_KEY].item()
    token_ids = tensors[TOKEN_IDS_KEY].long()
    table = tensors[_TEXT_PREFIX + TOKEN_TABLE_KEY]
    tensors[_TEXT_PREFIX + TOKEN_TABLE_KEY] = expand_token_table(table, token_ids, _VOCABULARY)
    unet, text, autoencoder = new_unet(), new_text_model(_VOCABULARY), new_autoencoder()
    unet.load_state_dict({k: tensors[_UNET_PREFIX + original_name(k)] for k in unet.state_dict()})
    autoencoder.load_state_dict(
        {k: tensors[_VAE_PREFIX + vae_key(k)] for k in autoencoder.state_dict()}
    )
    text.load_state_dict({k: tensors[_TEXT_PREFIX + k] for k in text.state_dict()}, strict=False)
    autoencoder.register_to_config(scaling_factor=latent_scale)
    for module in (unet, text, autoencoder):
        module.float().eval().requires_grad_(False)
    return Base(unet, text, autoencoder, token_ids, latent_scale)


def load_pipeline(path: Path = CHECKPOINT) -> StableDiffusionPipeline:
    """Return the checkpoint as a diffusers pipeline."""
    base = load_base(path)
    return StableDiffusionPipeline(
        vae=base.autoencoder,
        text_encoder=base.text,
        tokenizer=load_tokenizer(),
        unet=base.unet,
        scheduler=DDIMScheduler(
            **SCHEDULE, clip_sample=False, set_alpha_to_one=False, steps_offset=1
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
