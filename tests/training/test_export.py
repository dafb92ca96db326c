"""What is exported is the same network everywhere."""

import json
from types import SimpleNamespace

import pytest
import torch
from diffusers import T2IAdapter
from full_disk import fill_disk
from small_base import CHANNELS

from local_control.adapter import Adapter, AdapterConfig
from local_control.checkpoint import AdapterFile, AdapterFileError, read_adapter, to_diffusers
from local_control.z0 import PredictionType
from training import export
from training.config.metadata import metadata_of
from training.data.files import WriteError, write_tensors
from training.loop.control_files import describe, write_diffusers, write_file
from training.loop.state import list_states
from training.loop.trained import read_trained
from training.models.bases import Base
from training.models.controls import AdapterControl


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


@pytest.fixture
def export_to(monkeypatch):
    """Run the command with one file and one folder."""

    def call(source, folder, *flags):
        flags = ["--adapter", str(source), "--to", str(folder), *flags]
        monkeypatch.setattr("sys.argv", ["export", *flags])
        export.main()

    return call


def test_both_layouts_come_from_one_command(run, export_to, tmp_path):
    run(use_ema=True)
    export_to(tmp_path / "run" / "adapter.safetensors", tmp_path / "out", "--name", "mine")
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
    assert state.metadata == written.metadata


def test_a_checkpoint_exported_into_its_own_folder_stays_and_can_be_read(run, export_to, tmp_path):
    run()
    state = list_states(tmp_path / "run")[-1]
    before = state.read_bytes()
    export_to(state, tmp_path / "run")
    assert state.read_bytes() == before
    exported = read_trained(tmp_path / "run" / "adapter-00000006.safetensors")
    for key, value in read_trained(state).tensors.items():
        assert torch.equal(exported.tensors[key], value.half())


def test_nothing_is_exported_over_its_source_or_as_a_checkpoint(adapter_file, export_to, tmp_path):
    before = adapter_file.read_bytes()
    with pytest.raises(SystemExit, match="give another --name or --to"):
        export_to(adapter_file, tmp_path)
    with pytest.raises(SystemExit, match="taken for a checkpoint"):
        export_to(adapter_file, tmp_path / "out", "--name", "state-00000006")
    assert adapter_file.read_bytes() == before
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_is_one_whatever_its_name(run, tmp_path):
    run()
    state = list_states(tmp_path / "run")[-1]
    found = read_trained(state.rename(tmp_path / "renamed.safetensors"))
    assert found.metadata == read_adapter(tmp_path / "run" / "adapter.safetensors").metadata


def test_a_state_that_is_none_is_named(tmp_path):
    path = tmp_path / "state-00000001.safetensors"
    path.write_text("no state")
    with pytest.raises(AdapterFileError, match=r"state-00000001\.safetensors cannot be read"):
        read_trained(path)
    write_tensors(path, {"module.adapter.w": torch.ones(1)}, {"step": "1", "notes": "["})
    with pytest.raises(AdapterFileError, match="cannot be read as a state"):
        read_trained(path)


@pytest.mark.parametrize(
    ("width", "kind", "version", "architecture"),
    [
        (768, PredictionType.EPSILON, "sd_v1", "stable-diffusion-v1/t2i-adapter"),
        (1024, PredictionType.EPSILON, "sd_v2", "stable-diffusion-v2-512/t2i-adapter"),
        (1024, PredictionType.V, "sd_v2_v", "stable-diffusion-v2-768-v/t2i-adapter"),
    ],
)
def test_the_base_is_called_by_its_name(make_settings, width, kind, version, architecture):
    config = {"cross_attention_dim": width, "block_out_channels": (320, 640, 1280, 1280)}
    base = Base(SimpleNamespace(unet=SimpleNamespace(config=config)), torch.ones(1), kind)
    found = describe(AdapterControl(None), base, metadata_of(make_settings()), 5)
    assert found["ss_base_model_version"] == version
    assert found["modelspec.architecture"] == architecture


@pytest.mark.parametrize(
    ("gamma", "words"),
    [
        (1.0, "features never masked, noise loss weighted by min-SNR 1"),
        (0.0, "features never masked, noise loss weighted by 1/SNR"),
        (None, "features never masked"),
    ],
)
def test_a_file_tells_its_method(make_settings, gamma, words):
    settings = make_settings(snr_gamma=gamma, mask_features=False, z0_loss_weight=0)
    assert metadata_of(settings)["local_control.method"] == words


def test_a_full_disk_is_a_sentence_and_leaves_nothing(adapter_file, tmp_path, monkeypatch):
    adapter = read_trained(adapter_file)
    fill_disk(monkeypatch)
    with pytest.raises(WriteError, match="Free some space"):
        write_file(adapter, tmp_path / "out" / "a.safetensors")
    with pytest.raises(WriteError, match="Free some space"):
        write_diffusers(adapter, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
