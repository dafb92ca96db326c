"""Small random bases as diffusers folders, and folders of small pictures."""

import json

import cv2
import numpy as np
import torch
from diffusers import (
    AutoencoderTiny,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from demo.base import load_tokenizer
from local_control.original import original_name

CHANNELS = (32, 64, 128, 128)
SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}


def text_config(width):
    return CLIPTextConfig(
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=width,
    )


def small_sd(folder, prediction="epsilon", in_channels=4):
    """A pipeline of SD1.5's structure; `prediction` v_prediction makes it SD2's kind."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=in_channels,
        block_out_channels=CHANNELS,
        cross_attention_dim=16,
        attention_head_dim=2,
    )
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderTiny(),
        text_encoder=CLIPTextModel(text_config(16)),
        tokenizer=load_tokenizer(),
        unet=unet,
        scheduler=DDIMScheduler(**SCHEDULE, prediction_type=prediction, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def small_sdxl(folder):
    """A pipeline of SDXL's structure: two text encoders, time ids."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=CHANNELS[:3],
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16 + 24,
        attention_head_dim=2,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=24 + 6 * 8,
    )
    pipeline = StableDiffusionXLPipeline(
        vae=AutoencoderTiny(),
        text_encoder=CLIPTextModel(text_config(16)),
        text_encoder_2=CLIPTextModelWithProjection(text_config(24)),
        tokenizer=load_tokenizer(),
        tokenizer_2=load_tokenizer(),
        unet=unet,
        scheduler=DDIMScheduler(**SCHEDULE, clip_sample=False),
        add_watermarker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def single_file(pipeline, path, open_clip=False, extra=None):
    """A pipeline, but for its autoencoder, as one checkpoint in the layout of SD1.5 or SDXL.

    open_clip: the only text encoder is in OpenCLIP's layout, as SD2's is. extra: more tensors.
    """
    xl = hasattr(pipeline, "text_encoder_2")
    tensors = {
        f"model.diffusion_model.{_unet_key(key, xl)}": value
        for key, value in pipeline.unet.state_dict().items()
    }
    first = pipeline.text_encoder.state_dict()
    if open_clip:
        tensors |= _open_clip(first, "cond_stage_model.model.")
    else:
        place = "conditioner.embedders.0" if xl else "cond_stage_model"
        tensors |= {f"{place}.transformer.{key}": value for key, value in first.items()}
    if xl:
        second = pipeline.text_encoder_2.state_dict()
        tensors |= _open_clip(second, "conditioner.embedders.1.model.")
    tensors |= extra or {}
    save_file({key: value.contiguous() for key, value in tensors.items()}, path)
    return path


def _unet_key(key, xl):
    if xl and key.startswith("up_blocks.0.upsamplers."):
        return key.replace("up_blocks.0.upsamplers.0", "output_blocks.2.2")  # after its attention
    return original_name(key)


_OPEN_CLIP = {
    "encoder.layers.": "transformer.resblocks.",
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "final_layer_norm": "ln_final",
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
}


def _open_clip(tensors, prefix):
    """A text encoder of transformers in OpenCLIP's layout: q, k and v are one matrix."""
    found = {}
    for key, value in tensors.items():
        if "k_proj" in key or "v_proj" in key:
            continue
        if "q_proj" in key:
            value = torch.cat([tensors[key.replace("q_proj", f"{part}_proj")] for part in "qkv"])
            key = key.replace("self_attn.q_proj.", "attn.in_proj_")
        if key == "text_projection.weight":
            key, value = "text_projection", value.T
        key = key.removeprefix("text_model.")
        for ours, theirs in _OPEN_CLIP.items():
            key = key.replace(ours, theirs)
        found[prefix + key] = value
    return found


def pictures(folder, count=6, size=(64, 64), seed=0):
    """PNG pictures of a disc each, with captions and masks of the discs in metadata.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for index in range(count):
        rng = np.random.default_rng(seed + index)
        image = np.full((*size, 3), rng.integers(0, 100, 3), np.uint8)
        mask = np.zeros(size, np.uint8)
        centre = tuple(int(v) for v in rng.integers(20, min(size) - 20, 2))
        colour = tuple(int(v) for v in rng.integers(150, 255, 3))
        cv2.circle(image, centre, 14, colour, -1)
        cv2.circle(mask, centre, 14, 255, -1)
        cv2.imwrite(str(folder / f"{index}.png"), image)
        cv2.imwrite(str(folder / f"{index}.mask.png"), mask)
        row = {"file_name": f"{index}.png", "text": f"disc {index}", "mask": f"{index}.mask.png"}
        rows.append(row)
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder
