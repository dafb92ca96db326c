"""Bases from folders and single files, and what is said of those that cannot be used."""

import json

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from safetensors.torch import save_file
from small_base import small_sdxl

from demo.base import unet_key
from training.attention import Fp32Attention
from training.bases import BaseModelError, load_base


@pytest.fixture
def noisy():
    generator = torch.Generator().manual_seed(0)
    context = torch.randn(2, 5, 16, generator=generator)
    return torch.randn(2, 4, 8, 8, generator=generator), torch.tensor([5, 500]), context


def test_a_single_file_is_the_folder_that_it_was_made_of(base_folder, tmp_path, noisy):
    folder = load_base(str(base_folder))
    tensors = {
        f"model.diffusion_model.{unet_key(k)}": v for k, v in folder.unet.state_dict().items()
    }
    text = folder.pipeline.text_encoder.state_dict()
    tensors |= {f"cond_stage_model.transformer.{k}": v for k, v in text.items()}
    path = tmp_path / "checkpoint.safetensors"
    save_file({key: value.contiguous() for key, value in tensors.items()}, path)
    single = load_base(str(path), config=base_folder, vae=str(base_folder / "vae"))
    with torch.no_grad():
        torch.testing.assert_close(single.unet(*noisy).sample, folder.unet(*noisy).sample)
    one, other = (base.encode_text(["a disc"])["context"] for base in (single, folder))
    torch.testing.assert_close(one, other)
    assert single.text_name == folder.text_name


def test_pictures_come_back_from_latents(base_folder):
    base = load_base(str(base_folder))
    image = torch.rand(1, 3, 64, 64)
    latents = base.encode_images(image)
    assert latents.shape == (1, 4, 8, 8)
    assert base.decode(latents).shape == image.shape


def test_latents_of_a_variational_autoencoder_are_its_mode(base_folder, tmp_path):
    torch.manual_seed(0)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        norm_num_groups=4,
        scaling_factor=0.5,
    )
    vae.save_pretrained(tmp_path)
    base = load_base(str(base_folder), vae=str(tmp_path))
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        mean = vae.encode(2 * image - 1).latent_dist.mean
    latents = base.encode_images(image)
    assert latents.shape == (2, 4, 8, 8)
    torch.testing.assert_close(latents, 0.5 * mean)
    assert torch.equal(base.encode_images(image), latents)
    assert base.decode(latents).shape == image.shape


def test_an_autoencoder_that_is_no_safetensors_is_refused(base_folder, tmp_path):
    AutoencoderTiny().save_pretrained(tmp_path, safe_serialization=False)
    with pytest.raises(BaseModelError, match=r"The autoencoder .* cannot be loaded"):
        load_base(str(base_folder), vae=str(tmp_path))


def test_sdxl_is_told_apart(base_folder, tmp_path):
    sdxl = load_base(str(small_sdxl(tmp_path)))
    assert sdxl.is_xl
    assert sdxl.encode_text(["a", "b"])["pooled"].shape == (2, 16)
    assert sdxl.adapter_config(None, 1).kind == "xl"
    assert not load_base(str(base_folder)).is_xl


def test_bases_that_cannot_be_loaded_are_named(base_folder, tmp_path):
    with pytest.raises(BaseModelError, match="there is no file"):
        load_base(str(tmp_path / "no.safetensors"))
    (tmp_path / "text.safetensors").write_text("no model")
    with pytest.raises(BaseModelError, match="cannot be loaded"):
        load_base(str(tmp_path / "text.safetensors"))
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(BaseModelError, match="cannot be loaded"):
        load_base(str(tmp_path))


def test_a_base_that_predicts_something_else_is_refused(base_folder, tmp_path):
    load_base(str(base_folder)).pipeline.save_pretrained(tmp_path)
    path = tmp_path / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"prediction_type": "sample"}))
    with pytest.raises(BaseModelError, match="predicts 'sample'"):
        load_base(str(tmp_path))


def test_mixed_precision_on_a_cpu_keeps_fp32_weights(base_folder):
    base = load_base(str(base_folder))
    base.place(torch.device("cpu"), torch.bfloat16)
    assert base.unet.dtype == torch.float32
    assert not any(p.requires_grad for p in base.unet.parameters())


def test_fp32_attention_is_the_stock_attention(base_folder, noisy):
    unet: UNet2DConditionModel = load_base(str(base_folder)).unet
    stock = unet(*noisy).sample
    unet.set_attn_processor(Fp32Attention())
    torch.testing.assert_close(unet(*noisy).sample, stock, rtol=1e-4, atol=1e-5)
