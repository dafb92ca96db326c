import sys
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

sys.path.append(str(Path(__file__).parents[2]))

from safetensors.torch import load_file
from small_base import CHANNELS, pictures, small_sd

from local_control.adapter import Adapter, AdapterConfig
from local_control.checkpoint import AdapterFile, write_adapter
from training.config import TrainSettings
from training.setup import open_base, open_source
from training.state import list_states
from training.train import train


@pytest.fixture(autouse=True)
def fresh_accelerate():
    """Accelerate keeps its state in the process; every test starts without it."""
    AcceleratorState._reset_state(reset_partial_state=True)


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


@pytest.fixture
def make_settings(base_folder, picture_folder, cache_folder, tmp_path):
    """Settings of a run of a few seconds; a test names what differs."""

    def make(name="run", **changes):
        options = {
            "pretrained_model_name_or_path": str(base_folder),
            "train_data_dir": picture_folder,
            "cache_dir": cache_folder,
            "mask_column": "mask",
            "output_dir": tmp_path / name,
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
def run(make_settings):
    """Train as settings say -> the bytes of all that is learnt: fp32 weights, average, moments."""

    def run_it(name="run", **changes):
        settings = make_settings(name, **changes)
        train(settings, open_base(settings), open_source(settings))
        # Tensor by tensor, since a header has no fixed order.
        learnt = load_file(list_states(settings.output_dir)[-1])
        return b"".join(key.encode() + learnt[key].numpy().tobytes() for key in sorted(learnt))

    return run_it
