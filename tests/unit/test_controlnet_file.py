"""ControlNet files: which they are, what they hold, and what is refused."""

import json
import math

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from safetensors.torch import save_file

from local_control.adapter import Adapter, AdapterConfig
from local_control.checkpoint import AdapterFile
from local_control.control_file import parse_control, read_control, read_header
from local_control.controlnet import ControlNetFile, parse_controlnet
from local_control.layout import AdapterFileError
from local_control.original import original_name

TEXT = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"
CONDITION = "controlnet_cond_embedding.conv_in.weight"


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
        ({"conv_in.weight": torch.zeros(32)}, r"conv_in\.weight is no weight of 4 dim"),
        ({TEXT: torch.zeros(320)}, r"to_k\.weight is no weight of 2 dimensions"),
        ({"conv_in.bias": torch.zeros(0)}, r"conv_in\.bias of shape \[0\]"),
        ({"conv_in.bias": torch.zeros(2**20)}, r"conv_in\.bias of shape \[1048576\]"),
        ({"conv_in.bias": torch.zeros(1, 1, 1, 1, 1)}, "no ControlNet has such a tensor"),
        ({CONDITION: torch.zeros(16, 5, 3, 3)}, "a condition of 5 channels"),
    ],
)
def test_what_is_no_controlnet_is_a_sentence(tensors, change, words):
    with pytest.raises(AdapterFileError, match=words):
        parse_control(tensors | change, "net", {})


def test_a_file_of_countless_tensors_is_refused(tensors):
    many = {f"mid_block.resnets.0.conv1.{i}": torch.zeros(1) for i in range(5000)}
    with pytest.raises(AdapterFileError, match=r"no ControlNet of .* so many"):
        parse_controlnet(tensors | many, "net")


@pytest.mark.parametrize("sides", [(0, 2**62, 2**62), (0, 2**63)])
def test_headers_that_no_tensor_can_be_made_of_are_refused(tensors, tmp_path, sides):
    """They hold no byte, so the file is small, and no memory has room for such shapes."""
    path = tmp_path / "net.safetensors"
    shapes = {CONDITION: (16, 3, 3, 3), "conv_in.weight": (32, 4, 3, 3), "conv_in.bias": sides}
    header, end = {}, 0
    for key, shape in shapes.items():
        start, end = end, end + 4 * math.prod(shape)
        header[key] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(end))
    for read in (read_header, read_control):
        with pytest.raises(AdapterFileError, match="net"):
            read(path)


@pytest.mark.parametrize("text", [None, "", "[]", "{", "1"])
def test_a_file_that_tells_no_configuration_says_so(tensors, text):
    metadata = {} if text is None else {"diffusers.config": text}
    file = ControlNetFile(tensors, metadata)
    with pytest.raises(AdapterFileError, match="net does not tell the configuration"):
        file.diffusers_config("net")
