"""What a GPU would wait for: shown on tensors of a device that is not there."""

import shutil
import sys
from itertools import pairwise
from types import SimpleNamespace

import pytest
import tomli_w
import torch
from diffusers import ControlNetModel, DiffusionPipeline, UNet2DConditionModel
from prepared import prepare, trainer_of
from small_base import CHANNELS, small_sd
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data._utils.pin_memory import pin_memory

from local_control.adapter import Adapter, AdapterConfig
from local_control.z0 import PredictionType
from training import train
from training.loop.examples import collate
from training.loop.optimisation import update_ema
from training.loop.parts import learning_rate_of
from training.models.base_files import Hub, load_base
from training.models.bases import Base, BaseModelError
from training.models.batch import Batch
from training.models.controls import AdapterControl, ControlNetControl
from training.models.denoise import denoise_at, timesteps


class Copies(TorchDispatchMode):
    """Notes the copies between devices that hold up the one who asks for them.

    Those of up to 64 KiB to a GPU do not: the driver takes them along with the command.
    """

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        out = function(*arguments, **(options or {}))
        source = next((value for value in arguments if isinstance(value, torch.Tensor)), None)
        if isinstance(out, torch.Tensor) and source is not None:
            small = source.nbytes <= 2**16 and source.device.type == "cpu"
            if out.device.type != source.device.type and not small:
                self.found.append(str(function))
        return out


NETWORKS = {
    AdapterControl: lambda unet: Adapter(AdapterConfig(channels=CHANNELS)),
    ControlNetControl: ControlNetModel.from_unet,
}


@pytest.mark.parametrize("control", NETWORKS)
@pytest.mark.parametrize("kind", [PredictionType.EPSILON, PredictionType.V])
def test_nothing_in_a_step_waits_for_what_the_gpu_has_found(make_settings, kind, control):
    settings = make_settings(
        z0_loss_weight=4.0, edge="sobel", snr_gamma=5.0, decoded_loss_weight=1.0
    )
    alphas = torch.linspace(0.999, 0.01, 1000)
    objective = settings.loss(alphas, torch.nn.Identity())
    with FakeTensorMode(allow_non_fake_inputs=True), Copies() as copies:
        with torch.device("cuda"):
            unet = UNet2DConditionModel(
                sample_size=8,
                block_out_channels=CHANNELS,
                cross_attention_dim=16,
                attention_head_dim=2,
            ).requires_grad_(False)
            network, average = (NETWORKS[control](unet) for _ in range(2))
            base = Base(SimpleNamespace(unet=unet), torch.empty(1000), kind)
            z0, noise, u = torch.empty(2, 4, 8, 8), torch.empty(2, 4, 8, 8), torch.empty(2)
            context = torch.empty(2, 77, 16)
            pictures = (torch.empty(2, 1, 64, 64, dtype=torch.uint8) for _ in range(2))
            batch = Batch(z0, noise, u, context, *pictures).to(torch.device("cuda"))
        copies.found.clear()
        steps = timesteps(batch.u, 1000, "cubic")
        found = denoise_at(base, control(network), batch, steps, True)
        torch.stack([term.mean() for term in objective.terms(found).values()]).sum()
        for parameter in network.parameters():  # backward wants the device itself
            parameter.grad = torch.empty_like(parameter)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        update_ema(average, network, 3, 0.999)
        assert copies.found == []
        with pytest.raises(DataDependentOutputException):  # what a look at a value would raise
            bool((steps > 0).any())


@pytest.fixture
def batch(make_settings):
    """Two examples of a prepared run, stacked, and before that."""
    trainer = trainer_of(make_settings())
    examples = [trainer.examples[position, 0] for position in range(2)]
    return collate(examples), examples


def test_batches_are_pinned(batch, monkeypatch):
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self, *_: pinned.append(self) or self)
    pin_memory(batch[0])
    assert len(pinned) == 6


def test_masks_and_conditions_travel_in_bytes_and_arrive_as_they_were(batch):
    stacked, examples = batch
    assert stacked.mask.dtype == stacked.condition.dtype == torch.uint8
    arrived = stacked.to(torch.device("cpu"))
    for index, example in enumerate(examples):
        assert torch.equal(arrived.condition[index], example["condition"])
        assert (arrived.mask[index] - example["mask"]).abs().max() <= 0.5 / 255 + 1e-6
        assert torch.equal(arrived.z0[index], example["z0"])


def test_validation_keeps_its_examples_in_bytes(make_settings):
    (example, *_) = trainer_of(make_settings()).validation.examples
    assert example.mask.dtype == torch.uint8


def test_a_base_is_read_in_the_precision_of_its_file_and_trained_on_cpus_in_fp32(tmp_path):
    whole = small_sd(tmp_path / "base")
    half = DiffusionPipeline.from_pretrained(whole, torch_dtype=torch.float16)
    half.save_pretrained(tmp_path / "half")
    assert load_base(str(whole)).unet.dtype == torch.float32
    base = load_base(str(tmp_path / "half"))
    assert base.unet.dtype == torch.float16
    assert base.pipeline.vae.dtype == base.pipeline.text_encoder.dtype == torch.float32
    base.place(torch.device("cpu"), None)
    assert base.unet.dtype == torch.float32


def test_a_variant_of_the_weights_is_chosen_by_name(tmp_path):
    whole = small_sd(tmp_path / "base")
    half = DiffusionPipeline.from_pretrained(whole, torch_dtype=torch.float16)
    half.save_pretrained(tmp_path / "base", variant="fp16")
    assert load_base(str(whole)).unet.dtype == torch.float32
    assert load_base(str(whole), hub=Hub(variant="fp16")).unet.dtype == torch.float16
    shutil.rmtree(whole / "unet")
    with pytest.raises(BaseModelError, match="cannot be loaded"):
        load_base(str(whole), hub=Hub(variant="fp16"))


def test_text_encoders_are_let_go(make_settings, base_folder):
    base = load_base(str(base_folder))
    prepare(make_settings(), base)
    base.free_text_encoders()
    assert base.pipeline.text_encoder is None


def test_the_command_lets_text_encoders_go_before_it_trains(make_settings, monkeypatch, tmp_path):
    path, seen = tmp_path / "settings.toml", []
    path.write_text(tomli_w.dumps(make_settings().resolved()))
    monkeypatch.setattr(sys, "argv", ["train", "--config", str(path)])

    def look(_settings, base, data):
        assert len(data.train.data) > 0
        seen.append(base.pipeline.text_encoder)

    monkeypatch.setattr("training.train.run", look)
    monkeypatch.setattr("training.train.end_as_by_hand", lambda: None)
    train.main()
    assert seen == [None]


def test_the_last_step_learns(make_settings):
    for schedule in ("cosine", "linear", "polynomial"):
        rate = learning_rate_of(make_settings(lr_scheduler=schedule, lr_warmup_steps=0)).by_step()
        assert rate(5) > 0
        assert rate(6) < 1e-6


def test_schedules_have_their_cycles_and_powers(make_settings):
    plain = {"max_train_steps": 99, "lr_warmup_steps": 0, "learning_rate": 1.0}

    def rates(**changes):
        rate = learning_rate_of(make_settings(**plain | changes)).by_step()
        return [rate(step) for step in range(99)]

    restarts = rates(lr_scheduler="cosine_with_restarts", lr_num_cycles=3)
    assert sum(b > a + 0.5 for a, b in pairwise(restarts)) == 2
    square = rates(lr_scheduler="polynomial", lr_power=2.0)
    line = rates(lr_scheduler="polynomial")
    assert square[49] == pytest.approx(line[49] ** 2, abs=1e-3)
