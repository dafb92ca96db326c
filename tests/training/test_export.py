"""What is exported is the same network everywhere."""

import json

import pytest
import torch
from diffusers import T2IAdapter
from small_base import CHANNELS

from local_control.adapter import Adapter, AdapterConfig
from local_control.checkpoint import AdapterFile, AdapterFileError, read_adapter, to_diffusers
from training import export
from training.export import read_trained, write_diffusers
from training.state import list_states


@pytest.mark.parametrize("kind", ["full", "light", "xl"])
@pytest.mark.parametrize("in_channels", [1, 3])
def test_diffusers_opens_it_and_gives_the_same_features(tmp_path, kind, in_channels):
    torch.manual_seed(0)
    config = AdapterConfig(kind=kind, in_channels=in_channels, channels=CHANNELS)
    adapter = Adapter(config).half().float()
    write_diffusers(AdapterFile(config, adapter.state_dict()), tmp_path)
    theirs = T2IAdapter.from_pretrained(tmp_path)
    condition = torch.rand(2, in_channels, 128, 128)
    for one, other in zip(adapter(condition), theirs(condition), strict=True):
        torch.testing.assert_close(one, other)


def test_what_diffusers_has_no_network_for_is_refused():
    config = AdapterConfig(channels=CHANNELS, kernel=3)
    with pytest.raises(AdapterFileError, match="use the flat file"):
        to_diffusers(AdapterFile(config, Adapter(config).state_dict()))


def test_both_layouts_come_from_one_command(run, tmp_path, monkeypatch):
    run(use_ema=True)
    flags = f"--adapter {tmp_path}/run/adapter.safetensors --name mine --to {tmp_path}/out"
    monkeypatch.setattr("sys.argv", ["export", *flags.split()])
    export.main()
    flat, trained = (
        read_adapter(tmp_path / name)
        for name in ("out/mine.safetensors", "run/adapter.safetensors")
    )
    assert flat.metadata == trained.metadata
    assert all(torch.equal(flat.tensors[key], value) for key, value in trained.tensors.items())
    config = json.loads((tmp_path / "out" / "diffusers" / "config.json").read_text())
    assert config["_class_name"] == "T2IAdapter"


def test_a_checkpoint_gives_its_average(run, tmp_path):
    run(use_ema=True)
    state = read_trained(list_states(tmp_path / "run")[-1])
    written = read_adapter(tmp_path / "run" / "adapter.safetensors")
    for key, value in written.tensors.items():
        assert torch.equal(state.tensors[key].half(), value)
