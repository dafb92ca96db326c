"""ControlNet files: which they are, what they hold, and what is refused."""

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from safetensors.torch import save_file

from local_control.adapter import Adapter, AdapterConfig
from local_control.checkpoint import AdapterFile
from local_control.control_file import parse_control, read_control
from local_control.controlnet import ControlNetFile, parse_controlnet
from local_control.layout import AdapterFileError
from local_control.original import original_name


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return ControlNetModel(
        block_out_channels=(32, 32, 32, 32),
        cross_attention_dim=16,
        attention_head_dim=2,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=8,
    )


@pytest.fixture
def tensors(network):
    return {key: value.clone() for key, value in network.state_dict().items()}


@pytest.mark.parametrize("prefix", ["", "module."])
def test_names_of_tensors_tell_a_controlnet_from_an_adapter(tensors, tmp_path, prefix):
    save_file({prefix + k: v for k, v in tensors.items()}, tmp_path / "net.safetensors")
    adapter = Adapter(AdapterConfig(channels=(8, 16, 32, 32))).state_dict()
    save_file({prefix + k: v for k, v in adapter.items()}, tmp_path / "adapter.safetensors")
    found = read_control(tmp_path / "net.safetensors")
    assert isinstance(found, ControlNetFile)
    assert isinstance(read_control(tmp_path / "adapter.safetensors"), AdapterFile)
    assert found.in_channels == 3
    assert found.tensors.keys() == tensors.keys()
    assert all(torch.equal(found.tensors[key], value) for key, value in tensors.items())


def test_every_tensor_of_a_unet_and_a_controlnet_has_an_original_name_of_its_own(network):
    unet = UNet2DConditionModel(block_out_channels=(32, 32, 32, 32), cross_attention_dim=16)
    for module in (network, unet):
        keys = module.state_dict().keys()
        names = {original_name(key) for key in keys}
        assert len(names) == len(keys)
        assert not names & {key for key in keys if not key.startswith("input_")}


def test_the_overwritten_file_does_not_change_what_was_read(tensors, tmp_path):
    path = tmp_path / "net.safetensors"
    save_file(tensors, path)
    found = read_control(path)
    path.write_bytes(b"")
    assert torch.equal(found.tensors["conv_in.bias"], tensors["conv_in.bias"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"extra\nline": torch.zeros(1)}, r"a tensor 'extra\\nline', which no ControlNet"),
        ({"down_blocks.0.resnets.0.odd.weight": torch.zeros(1)}, "which no ControlNet"),
        ({"down_blocks.resnets.0.conv1.weight": torch.zeros(1)}, "which no ControlNet"),
        ({"conv_in.bias": torch.full((32,), torch.nan)}, "NaN or infinite"),
        ({"conv_in.bias": torch.zeros(32, dtype=torch.int8)}, "weights are floats"),
        ({"conv_in.weight": torch.zeros(32)}, r"no convolution conv_in\.weight"),
    ],
)
def test_what_is_no_controlnet_is_a_sentence(tensors, change, words):
    with pytest.raises(AdapterFileError, match=words):
        parse_control(tensors | change, "net", {})


def test_a_file_of_countless_tensors_is_refused(tensors):
    many = {f"mid_block.resnets.0.conv1.{i}": torch.zeros(1) for i in range(5000)}
    with pytest.raises(AdapterFileError, match=r"no ControlNet of .* so many"):
        parse_controlnet(tensors | many, "net")


@pytest.mark.parametrize("text", [None, "", "[]", "{", "1"])
def test_a_file_that_tells_no_configuration_says_so(tensors, text):
    metadata = {} if text is None else {"diffusers.config": text}
    file = ControlNetFile(tensors, metadata)
    with pytest.raises(AdapterFileError, match="net does not tell the configuration"):
        file.diffusers_config("net")
