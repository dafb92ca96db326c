import pytest
import torch
from diffusers import T2IAdapter
from safetensors.torch import load_file, save_file

from local_control.adapter import Adapter, AdapterConfig
from local_control.checkpoint import (
    AdapterFile,
    AdapterFileError,
    parse_adapter,
    read_adapter,
    write_adapter,
)

DIFFUSERS = {
    "full": {"adapter_type": "full_adapter", "channels": [8, 16, 32, 32], "downscale_factor": 8},
    "light": {"adapter_type": "light_adapter", "channels": [8, 16, 32], "downscale_factor": 8},
    "xl": {"adapter_type": "full_adapter_xl", "channels": [8, 16, 32, 32], "downscale_factor": 16},
}


def diffusers_adapter(kind, in_channels=3):
    torch.manual_seed(0)
    return T2IAdapter(in_channels=in_channels, num_res_blocks=2, **DIFFUSERS[kind])


def state(kind, prefix="", in_channels=3):
    adapter = diffusers_adapter(kind, in_channels)
    return {prefix + k: v.detach().clone() for k, v in adapter.state_dict().items()}


@pytest.mark.parametrize("kind", DIFFUSERS)
@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize("size", [(128, 128), (80, 112), (176, 48)])
def test_our_network_gives_the_features_of_diffusers(kind, in_channels, size):
    theirs = diffusers_adapter(kind, in_channels)
    ours = parse_adapter(theirs.state_dict(), "x").build()
    condition = torch.rand(2, in_channels, *size)
    for a, b in zip(ours(condition), theirs(condition), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("kind", DIFFUSERS)
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("drop", ["", "adapter."])
def test_every_layout_reads_the_same(tmp_path, kind, prefix, drop):
    plain = parse_adapter(state(kind), "x")
    tensors = {prefix + k.removeprefix(drop): v for k, v in state(kind).items()}
    save_file(tensors, tmp_path / "a.safetensors")
    found = read_adapter(tmp_path / "a.safetensors")
    assert found.config == plain.config
    assert found.config.kind == kind
    assert all(torch.equal(found.tensors[k], v) for k, v in plain.tensors.items())


@pytest.mark.parametrize("kind", DIFFUSERS)
def test_what_is_written_reads_back(tmp_path, kind):
    adapter = parse_adapter(state(kind), "x")
    path = tmp_path / "out.safetensors"
    write_adapter(
        AdapterFile(adapter.config, adapter.tensors, {"local_control.edge": "sobel"}), path
    )
    back = read_adapter(path)
    assert back.config == adapter.config
    assert back.metadata == {"local_control.edge": "sobel"}
    assert all(v.dtype == torch.float16 for v in load_file(path).values())
    assert all(torch.equal(back.tensors[k], v.half()) for k, v in adapter.tensors.items())


@pytest.mark.parametrize("config", [AdapterConfig(kernel=3), AdapterConfig(strided=True)])
def test_variants_of_the_full_adapter_are_recognised(config):
    config = AdapterConfig(
        channels=(8, 16, 32, 32), kernel=config.kernel, strided=config.strided, in_channels=1
    )
    assert parse_adapter(Adapter(config).state_dict(), "x").config == config


@pytest.mark.parametrize(
    ("channels", "kind", "family"),
    [
        ((320, 640, 1280, 1280), "full", "SD1.5"),
        ((320, 640, 1280, 1280), "xl", "SDXL"),
        ((64, 128, 256, 256), "full", "width 64"),
    ],
)
def test_the_family_is_told_by_the_shape(channels, kind, family):
    config = AdapterConfig(kind=kind, channels=channels)
    assert AdapterFile(config, {}).family == family


def write(path, content):
    path.write_bytes(content)
    return path


def test_bad_files_are_named_in_one_sentence(tmp_path):
    good = tmp_path / "good.safetensors"
    save_file(state("full"), good)
    text = write(tmp_path / "text.safetensors", b"this is not a model")
    cut = write(tmp_path / "cut.safetensors", good.read_bytes()[:-1000])
    empty = write(tmp_path / "empty.safetensors", b"")
    for path in (text, cut, empty):
        with pytest.raises(AdapterFileError, match=path.name):
            read_adapter(path)
    with pytest.raises(AdapterFileError, match=r"not a \.safetensors"):
        read_adapter(write(tmp_path / "model.pth", b""))
    with pytest.raises(AdapterFileError, match="no file"):
        read_adapter(tmp_path / "absent.safetensors")


def test_missing_unknown_and_misshapen_tensors_are_named():
    tensors = state("full")
    without = {k: v for k, v in tensors.items() if k != "adapter.body.1.resnets.0.block1.bias"}
    with pytest.raises(AdapterFileError, match=r"lacks 1 of .* body\.2\.block1\.bias"):
        parse_adapter(without, "x")
    with pytest.raises(AdapterFileError, match="does not know, first extra"):
        parse_adapter({**tensors, "adapter.extra": torch.zeros(1)}, "x")
    odd = {**tensors, "adapter.conv_in.bias": torch.zeros(7)}
    with pytest.raises(AdapterFileError, match=r"conv_in\.bias of shape \(7,\)"):
        parse_adapter(odd, "x")
    with pytest.raises(AdapterFileError, match="no T2I-Adapter"):
        parse_adapter({"weight": torch.zeros(1)}, "x")


def test_a_condition_that_does_not_fit_is_refused():
    adapter = parse_adapter(state("full"), "x").build()
    with pytest.raises(ValueError, match="multiples of 8"):
        adapter(torch.rand(1, 3, 60, 64))
    with pytest.raises(ValueError, match="reads 3"):
        adapter(torch.rand(1, 1, 64, 64))
