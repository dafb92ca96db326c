"""The trainer on a small random base: what it learns, writes, watches and refuses."""

import io
import json
import shutil
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from prepared import trainer_of
from small_base import CHANNELS, small_sd, small_sdxl
from small_runs import train_to_bytes
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from local_control.adapter import Adapter, AdapterConfig
from local_control.checkpoint import AdapterFile, AdapterFileError, read_adapter, write_adapter
from local_control.losses import LocalControlLoss
from training.config.run import TrainSettings
from training.loop.examples import collate
from training.loop.parts import control_of
from training.loop.prepare import open_base
from training.loop.state import list_states
from training.models.bases import BaseModelError
from training.models.batch import Batch
from training.models.denoise import denoise_at, predict, timesteps


@pytest.fixture(scope="module")
def sdxl_folder(tmp_path_factory):
    return small_sdxl(tmp_path_factory.mktemp("sdxl"))


@pytest.fixture(scope="module")
def v_folder(tmp_path_factory):
    return small_sd(tmp_path_factory.mktemp("v"), "v_prediction")


@pytest.fixture(scope="module")
def zero_snr_folder(base_folder, tmp_path_factory):
    """The small base with a noise prediction at zero terminal SNR."""
    folder = tmp_path_factory.mktemp("zero") / "base"
    shutil.copytree(base_folder, folder)
    path = folder / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text()) | {"rescale_betas_zero_snr": True}
    path.write_text(json.dumps(config))
    return folder


def example(mask: Tensor, condition: Tensor | None = None) -> Batch:
    generator = torch.Generator().manual_seed(0)
    size = (len(mask), 4, 8, 8)
    drawn = torch.rand(len(mask), 1, 64, 64, generator=generator)
    return Batch(
        z0=torch.randn(size, generator=generator),
        noise=torch.randn(size, generator=generator),
        u=torch.rand(len(mask), generator=generator),
        context=torch.randn(len(mask), 7, 16, generator=generator),
        condition=drawn if condition is None else condition,
        mask=mask,
    )


def test_the_held_out_loss_goes_down(make_settings):
    steps = {"max_train_steps": 60, "learning_rate": 3e-3, "timestep_sampling": "uniform"}
    run = trainer_of(make_settings(**steps, train_batch_size=4))
    before = run.validation.losses(run.control)["loss"]
    run.run()
    assert run.validation.losses(run.control)["loss"] < before


def test_only_the_adapter_learns(make_settings):
    run = trainer_of(make_settings())
    before = {key: value.clone() for key, value in run.base.unet.state_dict().items()}
    start = [parameter.detach().clone() for parameter in run.control.network.parameters()]
    run.run()
    after = run.base.unet.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    moved = [
        not torch.equal(a, b) for a, b in zip(run.control.network.parameters(), start, strict=True)
    ]
    assert all(moved)


def test_masked_features_do_not_see_the_condition_outside(make_settings):
    base, t = open_base(make_settings()), torch.tensor([500, 100])
    nothing = torch.zeros(2, 1, 64, 64)
    one, other = example(nothing), example(nothing, torch.ones(2, 1, 64, 64))
    for masked in (True, False):
        settings = make_settings(mask_features=masked)
        control = control_of(settings, base)
        first, second = (denoise_at(base, control, b, t, masked).output for b in (one, other))
        assert torch.equal(first, second) is masked


def test_cubic_timesteps_prefer_noise_and_stay_in_range():
    u = torch.linspace(0, 1, 10_001)
    cubic, uniform = timesteps(u, 1000, "cubic"), timesteps(u, 1000, "uniform")
    assert (cubic.min(), cubic.max()) == (0, 999)
    assert (uniform.min(), uniform.max()) == (0, 999)
    assert cubic.float().mean() > 700


@pytest.mark.parametrize("kind", ["full", "light"])
def test_sd_adapters(run, tmp_path, kind):
    run(adapter_type=kind, max_train_steps=2, lr_warmup_steps=1)
    config = read_adapter(tmp_path / "run" / "adapter.safetensors").config
    assert (config.kind, config.channels) == (kind, CHANNELS)


def test_sdxl_learns_with_pooled_text_and_time_ids(make_settings, sdxl_folder, tmp_path):
    name = {"pretrained_model_name_or_path": str(sdxl_folder), "random_flip": True}
    run = trainer_of(make_settings(max_train_steps=2, lr_warmup_steps=1, **name))
    seen = run.validation.examples[0]
    assert seen.time_ids.tolist() == [[64, 64, 0, 0, 64, 64]]
    assert seen.pooled.shape == (1, 24)
    run.run()
    assert read_adapter(tmp_path / "run" / "adapter.safetensors").config.kind == "xl"


def test_v_prediction_aims_at_v(make_settings, v_folder):
    settings = make_settings(pretrained_model_name_or_path=str(v_folder))
    base = open_base(settings)
    batch, t = example(torch.ones(1, 1, 64, 64)), torch.tensor([300])
    found = denoise_at(base, control_of(settings, base), batch, t, gated=True)
    a = base.alphas_cumprod[300]
    expected = a.sqrt() * batch.noise - (1 - a).sqrt() * batch.z0
    torch.testing.assert_close(found.target, expected)


@pytest.mark.parametrize(
    "changes", [{}, {"decoded_loss_weight": 1.0}, {"z0_loss_weight": 0.0, "snr_gamma": 0.0}]
)
def test_what_is_infinite_at_zero_terminal_snr_is_refused(make_settings, zero_snr_folder, changes):
    settings = make_settings(pretrained_model_name_or_path=str(zero_snr_folder), **changes)
    with pytest.raises(BaseModelError, match="--z0_loss_weight 0 --decoded_loss_weight 0"):
        trainer_of(settings)


@pytest.mark.parametrize("gamma", [None, 1.0])
def test_without_that_a_base_of_zero_terminal_snr_is_trained_on(
    make_settings, zero_snr_folder, gamma
):
    settings = make_settings(
        pretrained_model_name_or_path=str(zero_snr_folder),
        z0_loss_weight=0.0,
        snr_gamma=gamma,
        validation_timesteps=(500, 999),
    )
    run = trainer_of(settings)
    assert run.base.alphas_cumprod[-1] == 0
    assert 0 < run.validation.losses(run.control)["loss"] < float("inf")


def test_an_adapter_can_start_from_a_file(make_settings, run, tmp_path):
    run("first")
    path = tmp_path / "first" / "adapter.safetensors"
    settings = make_settings(adapter_model_name_or_path=path)
    found = control_of(settings, open_base(settings)).network.state_dict()
    expected = read_adapter(path).tensors
    assert all(torch.equal(found[key], value.float()) for key, value in expected.items())


def test_the_kind_of_an_adapter_follows_its_file(make_settings, tmp_path):
    light = AdapterConfig(kind="light", channels=CHANNELS, blocks=4, kernel=3)
    path = tmp_path / "light.safetensors"
    write_adapter(AdapterFile(light, Adapter(light).state_dict()), path)
    settings = make_settings(adapter_model_name_or_path=path)
    assert control_of(settings, open_base(settings)).network.config.kind == "light"
    settings = make_settings(adapter_model_name_or_path=path, adapter_type="full")
    with pytest.raises(AdapterFileError, match="use auto"):
        control_of(settings, open_base(settings))


def test_adapters_that_do_not_fit_are_refused(make_settings, sdxl_folder, tmp_path):
    wide = AdapterConfig(channels=(16, 32, 64, 64))
    write_adapter(AdapterFile(wide, Adapter(wide).state_dict()), tmp_path / "a.safetensors")
    settings = make_settings(adapter_model_name_or_path=tmp_path / "a.safetensors")
    with pytest.raises(AdapterFileError, match="this base needs full"):
        control_of(settings, open_base(settings))
    colour = AdapterConfig(channels=CHANNELS, in_channels=3)
    write_adapter(AdapterFile(colour, Adapter(colour).state_dict()), tmp_path / "b.safetensors")
    settings = make_settings(adapter_model_name_or_path=tmp_path / "b.safetensors")
    with pytest.raises(AdapterFileError, match="reads 3 channels"):
        control_of(settings, open_base(settings))
    sdxl = {"pretrained_model_name_or_path": str(sdxl_folder), "adapter_type": "full"}
    settings = make_settings(**sdxl)
    with pytest.raises(BaseModelError, match="use auto"):
        control_of(settings, open_base(settings))


def test_what_is_written_tells_its_story_and_no_paths(run, tmp_path, base_folder):
    run()
    metadata = read_adapter(tmp_path / "run" / "adapter.safetensors").metadata
    assert metadata["local_control.condition"] == "canny 100 200"
    assert "sobel" in metadata["local_control.method"]
    assert metadata["modelspec.sai_model_spec"] == "1.0.0"
    assert metadata["ss_steps"] == "6"
    assert str(base_folder.parent) not in json.dumps(metadata)


def test_outputs_beside_the_adapter(run, tmp_path):
    steps = {"validation_steps": 3, "num_validation_images": 1, "report_to": "tensorboard"}
    run(**steps, use_ema=True)
    folder = tmp_path / "run"
    names = {path.name for path in folder.iterdir()}
    assert {"adapter.safetensors", "best.safetensors", "config.toml", "overlay.png"} <= names
    assert [p.name for p in sorted((folder / "samples").iterdir())] == [
        "step-00000000.png",
        "step-00000003.png",
        "step-00000006.png",
    ]
    sheet = np.asarray(Image.open(folder / "samples" / "step-00000006.png"))
    assert sheet.shape == (20 + 64, 4 * 64, 3)
    assert list(folder.glob("logs/**/events*"))
    coverage = json.loads((folder / "masks.json").read_text())
    assert 0.1 < coverage["mean"] < 0.6
    assert read_adapter(folder / "best.safetensors").metadata["ss_steps"] in ("3", "6")


def test_trackers_get_means_over_steps_rates_and_gradients(make_settings, monkeypatch):
    monkeypatch.setattr("training.loop.trainer._LOG_STEPS", 3)
    logged = defaultdict(dict)
    monkeypatch.setattr(
        "accelerate.Accelerator.log", lambda self, values, step: logged[step].update(values)
    )
    run = trainer_of(make_settings(noise_offset=0.1))
    make_step, norms = run.step, []

    def noting(batches, step):
        found = make_step(batches, step)
        norms.append(found["gradient_norm"].item())
        return found

    monkeypatch.setattr(run, "step", noting)
    run.run()
    for step, seen in ((3, norms[:3]), (6, norms[3:])):
        found = {key: value for key, value in logged[step].items() if key.startswith("train/")}
        assert found["train/gradient_norm"] == pytest.approx(sum(seen) / 3, rel=1e-5)
        assert found["train/learning_rate"] > 0
        assert {"train/noise", "train/z0"} <= found.keys()


def test_trackers_are_shown_the_sheets(run, tmp_path, picture_folder):
    image = {"validation_prompt": ("x",), "validation_image": (str(picture_folder / "0.png"),)}
    run(report_to="tensorboard", num_validation_images=1, **image)
    folder = tmp_path / "run"
    events = EventAccumulator(str(folder / "logs" / "local_control")).Reload()
    assert set(events.Tags()["images"]) == {"held out", "prompts"}
    shown = [event.step for event in events.Images("prompts")]
    assert shown == [0, 6]
    sheet = np.asarray(Image.open(folder / "samples" / "prompts-00000006.png"))
    encoded = events.Images("prompts")[-1].encoded_image_string
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encoded))), sheet)


def test_gradients_are_divided_by_our_accumulation_and_no_other(make_settings, monkeypatch):
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    for steps in (1, 2):
        AcceleratorState._reset_state(reset_partial_state=True)
        run = trainer_of(make_settings(gradient_accumulation_steps=steps))
        assert run.accelerator.gradient_accumulation_steps == steps


def test_a_validation_that_cannot_work_ends_the_run_before_its_first_step(
    make_settings, monkeypatch
):
    run = trainer_of(make_settings())
    monkeypatch.setattr(run.validation, "losses", lambda control: 1 / 0)
    monkeypatch.setattr(run, "step", None)
    with pytest.raises(ZeroDivisionError):
        run.run()


def test_weights_that_learn_nothing_are_told_of(make_settings, monkeypatch, caplog):
    monkeypatch.setattr("training.loop.trainer._LOG_STEPS", 2)
    monkeypatch.setattr("training.loop.learning._ENOUGH_STEPS", 4)
    trainer_of(make_settings(mask_shares={"empty": 1.0}, z0_loss_weight=0.0)).run()
    assert caplog.text.count("no gradient has reached the adapter") == 1


def test_weights_that_do_not_move_are_told_of(make_settings, monkeypatch, caplog):
    monkeypatch.setattr("training.loop.trainer._LOG_STEPS", 2)
    monkeypatch.setattr("training.loop.learning._ENOUGH_STEPS", 4)
    trainer_of(make_settings("moving")).run()
    assert "have not moved" not in caplog.text
    trainer_of(make_settings(learning_rate=1e-30)).run()
    assert caplog.text.count("have not moved, though there are gradients") == 1


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_perturbed_inputs_keep_their_targets(make_settings, monkeypatch, kind):
    plain, noisy = (trainer_of(make_settings(input_perturbation=p)).examples for p in (0.0, 0.5))
    one, other = collate([plain[0, 0]]), collate([noisy[0, 0]])
    assert torch.equal(one.noise, other.noise)
    assert one.perturbation is None
    assert 0.3 < other.perturbation.std() < 0.7
    inputs = []

    def note(unet, z_t, *given):
        inputs.append(z_t)
        return predict(unet, z_t, *given)

    monkeypatch.setattr("training.models.denoise.predict", note)
    base, t = open_base(make_settings(prediction_type=kind)), torch.tensor([500])
    adapter = control_of(make_settings(), base)
    first, second = (
        denoise_at(base, adapter, batch.to(base.device), t, True) for batch in (one, other)
    )
    assert torch.equal(first.target, second.target)
    a = base.alphas_cumprod[500]
    torch.testing.assert_close(inputs[1] - inputs[0], (1 - a).sqrt() * other.perturbation)
    right = replace(second, output=second.target)  # no loss asks for anything else
    terms = LocalControlLoss(z0_weight=1.0).terms(right)
    assert terms["noise"].item() == 0
    assert terms["z0"].item() < 1e-8


def test_epochs_are_steps_and_a_run_by_them_goes_on(run, make_settings, tmp_path):
    whole = run("steps", max_train_steps=6)

    def by_epochs(**changes):  # three steps each
        told = make_settings("epochs", **changes).model_dump(exclude_unset=True)
        told.pop("max_train_steps")
        return TrainSettings(**told, num_train_epochs=2)

    assert train_to_bytes(by_epochs()) == whole
    list_states(tmp_path / "epochs")[-1].unlink()
    assert train_to_bytes(by_epochs(resume_from_checkpoint="latest")) == whole
    written = (tmp_path / "epochs" / "config.toml").read_text()
    assert "max_train_steps = 6" in written
    assert "num_train_epochs" not in written


def test_noise_is_shifted_as_far_as_it_is_asked_for(make_settings):
    plain, shifted = (trainer_of(make_settings(noise_offset=o)).examples for o in (0.0, 0.5))
    for position in range(4):
        one, other = plain[position, 0], shifted[position, 0]
        shift = other["noise"] - one["noise"]
        assert (shift - shift[:, :1, :1]).abs().max() < 1e-5
        assert shift.abs().max() > 0
        assert all(torch.equal(one[key], other[key]) for key in one if key != "noise")


def test_validation_is_the_same_at_every_call(make_settings):
    run = trainer_of(make_settings())
    one, two = (run.validation.losses(run.control) for _ in range(2))
    assert one == two
    assert {"noise", "z0", "loss", "loss at t=100", "loss at t=900"} <= one.keys()
