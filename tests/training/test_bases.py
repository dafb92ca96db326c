"""Bases from folders and single files, and what is said of those that cannot be used."""

import json
import shutil

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDIMScheduler,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
    UNet2DConditionModel,
    UniPCMultistepScheduler,
)
from safetensors.torch import save_file
from small_base import CHANNELS, single_file, small_sd, small_sdxl

from local_control.z0 import PredictionType
from training.models.attention import Fp32Attention
from training.models.base_files import load_base
from training.models.bases import BaseModelError
from training.models.denoise import predict
from training.models.sample import Sampling, sample


@pytest.fixture
def noisy():
    generator = torch.Generator().manual_seed(0)
    context = torch.randn(2, 5, 16, generator=generator)
    return torch.randn(2, 4, 8, 8, generator=generator), torch.tensor([5, 500]), context


def single(folder, path, **options):
    """The base in a folder again, by way of one file with the folder's configs."""
    single_file(load_base(str(folder)).pipeline, path, **options)
    return load_base(str(path), config=str(folder), vae=str(folder / "vae"))


@pytest.mark.parametrize("family", ["sd15", "sd2", "sdxl"])
def test_a_single_file_is_the_folder_that_it_was_made_of(family, base_folder, tmp_path, noisy):
    folder = small_sdxl(tmp_path / "sdxl") if family == "sdxl" else base_folder
    one = load_base(str(folder))
    other = single(folder, tmp_path / "checkpoint.safetensors", open_clip=family == "sd2")
    assert other.is_xl == (family == "sdxl")
    text = [base.encode_text(["a disc"]) for base in (one, other)]
    torch.testing.assert_close(text[1], text[0])
    context = text[0]["context"].expand(2, -1, -1)
    added = None
    if one.is_xl:
        pooled = text[0]["pooled"].expand(2, -1)
        added = {"text_embeds": pooled, "time_ids": torch.arange(12.0).view(2, 6)}
    with torch.no_grad():
        outputs = [predict(base.unet, *noisy[:2], context, added=added) for base in (one, other)]
    torch.testing.assert_close(outputs[1], outputs[0])
    assert other.text_name == one.text_name
    assert other.kind is PredictionType.EPSILON


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_single_file_is_kept_in_its_own_precision(family, dtype, base_folder, tmp_path):
    folder = small_sdxl(tmp_path / "sdxl") if family == "sdxl" else base_folder
    base, path = load_base(str(folder)), tmp_path / "checkpoint.safetensors"
    base.unet.to(dtype)
    single_file(base.pipeline, path)
    found = load_base(str(path), config=str(folder), vae=str(folder / "vae"))
    assert {value.dtype for value in found.unet.state_dict().values()} == {dtype}
    assert found.pipeline.text_encoder.dtype == found.pipeline.vae.dtype == torch.float32
    for key, value in base.unet.state_dict().items():
        assert torch.equal(found.unet.state_dict()[key], value)
    base.unet.float()
    assert found.unet_name == base.unet_name  # so runs that began when it was read in fp32 go on


def test_a_single_file_of_several_precisions_loses_nothing(base_folder, tmp_path):
    base, path = load_base(str(base_folder)), tmp_path / "checkpoint.safetensors"
    base.unet.mid_block.half()
    single_file(base.pipeline, path)
    found = load_base(str(path), config=str(base_folder), vae=str(base_folder / "vae"))
    assert {value.dtype for value in found.unet.state_dict().values()} == {torch.float32}


def test_text_of_another_tokenizer_has_another_name(base_folder):
    one, other = load_base(str(base_folder)), load_base(str(base_folder))
    other.pipeline.tokenizer.pad_token = "!"
    assert one.text_name != other.text_name


@pytest.mark.parametrize(("spread", "kind"), [(0.05, "epsilon"), (0.2, "v_prediction")])
def test_what_an_sd2_file_predicts_is_seen_in_it(base_folder, tmp_path, spread, kind):
    norm = torch.tensor([spread, -spread]).repeat(CHANNELS[0] // 2)
    key = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"
    path = tmp_path / "checkpoint.safetensors"
    base = single(base_folder, path, open_clip=True, extra={key: norm})
    assert base.kind == kind
    assert base.pipeline.scheduler.config["prediction_type"] == kind


def test_marks_of_a_single_file_decide_its_schedule(base_folder, tmp_path):
    marks = {"v_pred": torch.zeros(1)}
    path = tmp_path / "checkpoint.safetensors"
    base = single(base_folder, path, extra=marks)
    assert base.kind is PredictionType.V
    assert base.alphas_cumprod[-1] > 0
    base = single(base_folder, path, extra=marks | {"ztsnr": torch.zeros(1)})
    assert base.kind is PredictionType.V
    assert base.alphas_cumprod[-1] == 0
    text = base.encode_text(["a disc"])
    found = sample(base, torch.randn(1, 4, 8, 8), text, base.encode_text([""]), Sampling(steps=2))
    assert bool(found.isfinite().all())


def test_the_prediction_type_can_be_set(base_folder, tmp_path):
    assert load_base(str(base_folder), prediction="v_prediction").kind is PredictionType.V
    path = tmp_path / "checkpoint.safetensors"
    single(base_folder, path, extra={"v_pred": torch.zeros(1)})
    vae = str(base_folder / "vae")
    base = load_base(str(path), str(base_folder), vae, prediction="epsilon")
    assert base.kind is PredictionType.EPSILON


def test_the_sampler_keeps_the_schedule_of_its_folder(base_folder, tmp_path):
    shutil.copytree(base_folder, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "scheduler" / "scheduler_config.json"
    options = {"set_alpha_to_one": False, "timestep_spacing": "trailing"}
    path.write_text(json.dumps(json.loads(path.read_text()) | options))
    kept = DDIMScheduler.from_config(load_base(str(tmp_path)).pipeline.scheduler.config)
    assert {key: kept.config[key] for key in options} == options


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
    assert sdxl.encode_text(["a", "b"])["pooled"].shape == (2, 24)
    assert sdxl.adapter_config(None, 1).kind == "xl"
    assert not load_base(str(base_folder)).is_xl


def test_bases_that_cannot_be_loaded_are_named(base_folder, tmp_path):
    with pytest.raises(BaseModelError, match="there is no file"):
        load_base(str(tmp_path / "no.safetensors"))
    (tmp_path / "text.safetensors").write_text("no model")
    with pytest.raises(BaseModelError, match="cannot be loaded"):
        load_base(str(tmp_path / "text.safetensors"))
    save_file({"model.diffusion_model.out.0.weight": torch.ones(1)}, tmp_path / "lone.safetensors")
    with pytest.raises(BaseModelError, match="cannot be loaded"):
        load_base(str(tmp_path / "lone.safetensors"), str(base_folder))
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(BaseModelError, match="cannot be loaded"):
        load_base(str(tmp_path))


def test_a_base_that_predicts_something_else_is_refused(base_folder, tmp_path):
    load_base(str(base_folder)).pipeline.save_pretrained(tmp_path)
    path = tmp_path / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"prediction_type": "sample"}))
    with pytest.raises(BaseModelError, match="predicts 'sample'"):
        load_base(str(tmp_path))


def test_bases_with_another_task_are_refused(base_folder, tmp_path):
    inpainting = small_sd(tmp_path / "inpainting", in_channels=9)
    with pytest.raises(BaseModelError, match="reads 9 channels, as inpainting models do"):
        load_base(str(inpainting))
    with pytest.raises(BaseModelError, match="has edm_mean"):
        single(base_folder, tmp_path / "edm.safetensors", extra={"edm_mean": torch.zeros(4)})
    shutil.copytree(base_folder, tmp_path / "edm")
    EDMEulerScheduler().save_pretrained(tmp_path / "edm" / "scheduler")
    index = tmp_path / "edm" / "model_index.json"
    index.write_text(index.read_text().replace("DDIMScheduler", "EDMEulerScheduler"))
    with pytest.raises(BaseModelError, match="EDM schedule"):
        load_base(str(tmp_path / "edm"))


def test_a_base_without_one_of_its_text_encoders_is_refused(tmp_path):
    """SDXL's refiner has the second one alone."""
    folder = small_sdxl(tmp_path)
    index = folder / "model_index.json"
    found = json.loads(index.read_text()) | {"text_encoder": [None, None]}
    index.write_text(json.dumps(found))
    with pytest.raises(BaseModelError, match="has no text_encoder, as SDXL's refiner"):
        load_base(str(folder))


@pytest.mark.parametrize(
    "scheduler",
    [FlowMatchEulerDiscreteScheduler(shift=3.0), UniPCMultistepScheduler(use_flow_sigmas=True)],
)
def test_a_base_of_flow_matching_is_refused(scheduler, base_folder, tmp_path):
    folder = shutil.copytree(base_folder, tmp_path / "flow")
    scheduler.save_pretrained(folder / "scheduler")
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace("DDIMScheduler", type(scheduler).__name__))
    with pytest.raises(BaseModelError, match=f"schedule of a {type(scheduler).__name__}, without"):
        load_base(str(folder))


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


def test_code_in_a_folder_is_never_run(base_folder, tmp_path, monkeypatch):
    folder = tmp_path / "base"
    shutil.copytree(base_folder, folder)
    ran = tmp_path / "ran"
    (folder / "own.py").write_text(f"open({str(ran)!r}, 'w')\nclass Own: pass\n")
    index = json.loads((folder / "model_index.json").read_text())
    monkeypatch.syspath_prepend(folder)  # as where a command is started in it
    for change in ({"_class_name": ["own", "Own"]}, {"unet": ["own", "Own"]}):
        (folder / "model_index.json").write_text(json.dumps(index | change))
        with pytest.raises(BaseModelError, match="names code that is not of"):
            load_base(str(folder))
    assert not ran.exists()
