import sys
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

sys.path.append(str(Path(__file__).parents[2]))

from small_base import CHANNELS, pictures, small_sd
from small_runs import train_to_bytes

from local_control.adapter import Adapter, AdapterConfig
from local_control.checkpoint import AdapterFile, write_adapter
from training.config.run import TrainSettings


@pytest.fixture(autouse=True)
def fresh_accelerate():
    """Accelerate keeps its state in the process; every test starts without it."""
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(autouse=True)
def short_preview(monkeypatch):
    """Enough masks for the sheet; counting more is a third of such a run."""
    monkeypatch.setattr("training.loop.preview._COUNTED", 32)


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory):
    return small_sd(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def adapter_file(tmp_path):
    """An adapter of the small base that tells what it reads."""
    torch.manual_seed(0)
    config = AdapterConfig(channels=CHANNELS)
    path = tmp_path / "adapter.safetensors"
    metadata = {"local_control.condition": "canny 50 150"}
    write_adapter(AdapterFile(config, Adapter(config).state_dict(), metadata), path)
    return path


@pytest.fixture(scope="session")
def settings_in(base_folder, picture_folder, cache_folder):
    """Settings of a run of a few seconds into a folder; a test names what differs."""

    def make(folder, **changes):
        options = {
            "pretrained_model_name_or_path": str(base_folder),
            "train_data_dir": picture_folder,
            "cache_dir": cache_folder,
            "mask_column": "mask",
            "output_dir": folder,
            "resolution": 64,
            "crop_variants": 1,
            "validation_share": 0.2,
            "train_batch_size": 2,
            "max_train_steps": 6,
            "lr_warmup_steps": 2,
            "learning_rate": 1e-3,
            "checkpointing_steps": 2,
            "validation_steps": 100,
            "num_validation_images": 0,
            "num_inference_steps": 2,
            "report_to": "none",
        }
        return TrainSettings(**options | changes)

    return make


@pytest.fixture
def make_settings(settings_in, tmp_path):
    """The same into a folder of the test, by name."""
    return lambda name="run", **changes: settings_in(tmp_path / name, **changes)


@pytest.fixture
def run(make_settings):
    """Train as settings say -> the bytes of all that is learnt."""
    return lambda name="run", **changes: train_to_bytes(make_settings(name, **changes))
