import re

import pytest
import torch
from diffusers import T2IAdapter
from safetensors.torch import load_file, save_file

from local_control import layout
from local_control.adapter import Adapter, AdapterConfig
from local_control.checkpoint import (
    AdapterFile,
    AdapterFileError,
    parse_adapter,
    read_adapter,
    read_adapter_header,
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


@pytest.mark.parametrize("kind", DIFFUSERS)
def test_a_header_is_the_file_without_its_numbers(tmp_path, kind):
    path = tmp_path / "a.safetensors"
    save_file(state(kind, prefix="module."), path, metadata={"modelspec.title": "edges"})
    header, file = read_adapter_header(path), read_adapter(path)
    assert (header.config, header.metadata, header.family) == (
        file.config,
        file.metadata,
        file.family,
    )
    assert {k: v.shape for k, v in header.tensors.items()} == {
        k: v.shape for k, v in file.tensors.items()
    }
    assert all(tensor.is_meta for tensor in header.tensors.values())


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_what_was_read_has_no_tie_to_its_file(tmp_path, dtype):
    path = tmp_path / "a.safetensors"
    save_file({key: value.to(dtype) for key, value in state("full").items()}, path)
    found = read_adapter(path)
    before = {key: value.clone() for key, value in found.tensors.items()}
    with path.open("r+b") as file:  # in place, as copying over it does
        file.write(b"\0" * path.stat().st_size)
    assert all(torch.equal(found.tensors[key], value) for key, value in before.items())
    with path.open("r+b") as file:
        file.truncate(16)
    assert all(torch.equal(found.tensors[key], value) for key, value in before.items())


FIRST = "adapter.conv_in.weight"
BAD_TENSORS = {
    "integers": (FIRST, torch.zeros(8, 192, 3, 3, dtype=torch.int8), r"conv_in\.weight in int8"),
    "three dimensions": (FIRST, torch.zeros(8, 192, 3), r"conv_in\.weight of shape \(8, 192, 3\)"),
    "five dimensions": (FIRST, torch.zeros(8, 192, 3, 3, 1), "more than 4 dimensions"),
    "no channels": (FIRST, torch.zeros(8, 0, 3, 3), "no size of zero"),
    "an even kernel": (FIRST, torch.zeros(8, 192, 2, 2), "k of 1, 3, 5 or 7"),
    "two sides": (FIRST, torch.zeros(8, 192, 3, 1), "k of 1, 3, 5 or 7"),
    "two channels": (FIRST, torch.zeros(8, 128, 3, 3), "neither a gray one"),
    "NaN": (FIRST, torch.full((8, 192, 3, 3), torch.nan), "NaN or infinite"),
    "infinity": ("adapter.conv_in.bias", torch.full((8,), torch.inf), "NaN or infinite"),
    "a long name": ("adapter." + "x" * 1000, torch.zeros(1), "over 200 characters"),
    "an odd name": ("adapter.\n\u202e", torch.zeros(1), r"first '\\n\\u202e'"),
    "a far level": ("adapter.body.999.resnets.0.block1.weight", torch.zeros(1), "1 tensors that"),
}


@pytest.mark.parametrize("name", BAD_TENSORS)
def test_tensors_that_no_adapter_has_are_refused_when_read(tmp_path, name):
    key, value, words = BAD_TENSORS[name]
    save_file({**state("full"), key: value}, tmp_path / "a.safetensors")
    with pytest.raises(AdapterFileError, match=words) as error:
        read_adapter(tmp_path / "a.safetensors")
    assert str(error.value).isprintable()


@pytest.mark.parametrize("names", ["body.{}.block1.weight", "body.{}.out_conv.weight"])
def test_thousands_of_levels_are_refused_before_anything_is_built(tmp_path, monkeypatch, names):
    tensors = {names.format(level): torch.zeros(1, 1, 1, 1) for level in range(9000)}
    save_file(tensors, tmp_path / "a.safetensors")
    monkeypatch.setattr(layout, "Adapter", lambda config: pytest.fail("a network was built"))
    with pytest.raises(AdapterFileError, match="9,000 tensors"):
        read_adapter(tmp_path / "a.safetensors")


@pytest.mark.parametrize("kind", DIFFUSERS)
def test_many_blocks_are_refused_before_anything_is_built(monkeypatch, kind):
    kernel = 3 if kind == "light" else 1
    tensors = Adapter(AdapterConfig(kind, 1, (4, 4, 4, 4), 20, kernel)).state_dict()
    monkeypatch.setattr(layout, "Adapter", lambda config: pytest.fail("a network was built"))
    with pytest.raises(AdapterFileError, match="20 blocks a level"):
        parse_adapter(tensors, "x")


def test_what_a_library_says_at_length_is_cut_short(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"x" * 5000: torch.zeros(1)}, path)
    path.write_bytes(path.read_bytes()[:-1])
    path.write_bytes(re.sub(rb"\[0,4\]", b"[4,0]", path.read_bytes()))
    with pytest.raises(AdapterFileError, match="cannot be read as safetensors") as error:
        read_adapter(path)
    assert len(str(error.value)) < 400


def test_weights_beyond_half_precision_are_not_written(tmp_path):
    adapter = parse_adapter({**state("full"), "adapter.conv_in.bias": torch.full((8,), 7e4)}, "x")
    with pytest.raises(AdapterFileError, match=r"conv_in\.bias holds numbers beyond 65504"):
        write_adapter(adapter, tmp_path / "out.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_condition_that_does_not_fit_is_refused():
    adapter = parse_adapter(state("full"), "x").build()
    with pytest.raises(ValueError, match="multiples of 8"):
        adapter(torch.rand(1, 3, 60, 64))
    with pytest.raises(ValueError, match="reads 3"):
        adapter(torch.rand(1, 1, 64, 64))
