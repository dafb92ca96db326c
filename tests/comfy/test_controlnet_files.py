"""Files of trained ControlNets in ComfyUI: by its own loader, and by Load Local Adapter."""

import logging
from pathlib import Path

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from images import left, picture
from small_models import WIDTH, fill

from demo.base import LATENT_SHAPE, TEXT_WIDTH, new_unet
from local_control.controlnet import ControlNetFile
from training.loop.control_files import write_file
from training.models.controls import ControlNetControl

METADATA = {"local_control.control": "controlnet", "local_control.condition": "canny 100 200"}
UNETS = {
    "SD1.5": {"cross_attention_dim": 768},
    "SD2": {
        "cross_attention_dim": 1024,
        "attention_head_dim": (5, 10, 20, 20),
        "use_linear_projection": True,
    },
    "SDXL": {
        "cross_attention_dim": 2048,
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": (5, 10, 20),
        "transformer_layers_per_block": (1, 2, 10),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}
MAPS = {"SD1.5": 12, "SD2": 12, "SDXL": 9}


@pytest.fixture(scope="module")
def folder(comfy, tmp_path_factory):
    import folder_paths

    found = tmp_path_factory.mktemp("controlnets")
    folder_paths.add_model_folder_path("controlnet", str(found))
    return found


def of_demo():
    """A ControlNet of the demo base with random weights that fp16 holds."""
    network = ControlNetModel.from_unet(new_unet()).eval()
    fill(network, seed=7)
    return network.half().float()


def shapes(tensors):
    return {key: tuple(value.shape) for key, value in tensors.items()}


@pytest.mark.parametrize("family", UNETS)
def test_real_shapes_load_whole_in_the_stock_loader_and_in_ours(comfy, monkeypatch, caplog, family):
    from comfy import controlnet, model_management

    meta = torch.device("meta")
    monkeypatch.setattr(model_management, "unet_offload_device", lambda: meta)
    with meta:
        base = UNet2DConditionModel(**UNETS[family])
        network = ControlNetModel.from_unet(base, load_weights_from_unet=False)
    assert len(network.controlnet_down_blocks) == MAPS[family]
    file = ControlNetControl(network).file({})
    assert file.family == family
    ours = comfy.module("nodes.sampler.control.controlnet").load_controlnet
    with caplog.at_level(logging.WARNING):
        stock = controlnet.load_controlnet_state_dict(dict(file.tensors))
        own = ours(file, "some.safetensors")
    assert not [line for line in caplog.messages if "missing" in line or "leftover" in line]
    for control in (stock, own):
        assert shapes(control.control_model.state_dict()) == shapes(file.original())


def test_load_local_adapter_knows_a_controlnet_and_regions_take_it(comfy, folder):
    network = of_demo()
    write_file(ControlNetControl(network).file(METADATA), folder / "net.safetensors")
    control, text = comfy.call("LocalControl_LoadAdapter", adapter_name="net.safetensors")
    assert text.splitlines()[0] == "ControlNet for width 64, RGB condition"
    assert "condition: canny 100 200" in text

    generator = torch.Generator().manual_seed(0)
    z_t = torch.randn(1, *LATENT_SHAPE, generator=generator)
    context = torch.randn(1, 7, TEXT_WIDTH, generator=generator)
    condition = picture().movedim(-1, 1)
    t = torch.tensor([300.0])
    maps, middle = network(z_t, t, context, condition, return_dict=False)
    found = control.control_model(z_t, hint=condition, timesteps=t, context=context)
    for one, other in zip([*found["output"], *found["middle"]], [*maps, middle], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)

    inputs = {"control_net": control, "image": picture(), "mask": left()}
    (region,) = comfy.call("LocalControl_Region", **inputs)[0]
    assert region.control is control


def test_a_condition_follows_what_a_connected_controlnet_says(comfy, folder):
    told = METADATA | {"local_control.condition": "colour 4"}
    write_file(ControlNetControl(of_demo()).file(told), folder / "colours.safetensors")
    control, _ = comfy.call("LocalControl_LoadAdapter", adapter_name="colours.safetensors")
    options = {"image": picture(), "low_threshold": 20, "high_threshold": 60, "blur": 0.0}
    condition = "LocalControl_Condition"
    found = comfy.call(condition, **options, kind="canny", blocks=8, control_net=control)[0]
    assert torch.equal(found, comfy.call(condition, **options, kind="colour", blocks=4)[0])


@pytest.mark.parametrize("damage", ["cut", "unknown"])
def test_what_is_no_whole_controlnet_of_a_known_family_is_a_sentence(comfy, folder, damage):
    if damage == "cut":
        file = ControlNetControl(of_demo()).file(METADATA)
        file.tensors.popitem()
        words = "lacks 1 of"
    else:
        unet = UNet2DConditionModel(
            block_out_channels=(WIDTH, WIDTH, WIDTH, WIDTH), cross_attention_dim=16
        )
        file = ControlNetControl(ControlNetModel.from_unet(unet)).file({})
        words = "of no family that this ComfyUI knows"
    path = Path(folder) / f"{damage}.safetensors"
    write_file(ControlNetFile(file.tensors, file.metadata), path)
    with pytest.raises(ValueError, match=words):
        comfy.call("LocalControl_LoadAdapter", adapter_name=path.name)
