"""What each flag of a run changes, and what it leaves as it is."""

import pytest
import torch
from prepared import trainer_of
from safetensors.torch import load_file
from small_runs import assert_same_run, learnt, start, train_to_bytes

from training.loop.state import list_states

STEPS = {"max_train_steps": 2, "lr_warmup_steps": 1}


@pytest.fixture(scope="module")
def plain(settings_in, tmp_path_factory):
    """The folder of a run without any flag, and the bytes of what it learnt."""
    folder = tmp_path_factory.mktemp("plain")
    return folder, train_to_bytes(settings_in(folder, **STEPS))


@pytest.fixture
def usual_kernels():
    """Kernels are chosen for the whole process; put the usual ones back."""
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False


@pytest.mark.parametrize(
    "changes",
    [
        {"prediction_type": "v_prediction"},
        {"snr_gamma": 0.01},
        {"snr_gamma": 0.0},
        {"freedom_loss_weight": 4.0},
        {"decoded_loss_weight": 100.0, "decoded_loss_lowest": 0.0},
        {"masked_noise_loss": True},
        {"z0_loss_erode": 1},
        {"z0_loss_weight": 8.0},
        {"z0_loss_schedule": "constant"},
        {"z0_loss_mean": "pixels"},
        {"mask_resize": "nearest"},
        {"edge": "none"},
        {"timestep_sampling": "uniform"},
        {"input_perturbation": 0.1},
        {"max_grad_norm": 0.01},
        {"lr_scheduler": "constant"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_the_objective_changes_what_is_learnt(run, plain, changes):
    assert run(**STEPS, **changes) != plain[1]


@pytest.mark.parametrize(
    "changes",
    [{"gradient_checkpointing": True}, {"deterministic": True}],
    ids=lambda changes: next(iter(changes)),
)
def test_ways_to_compute_the_same_change_no_byte(run, plain, usual_kernels, changes):
    assert run(**STEPS, **changes) == plain[1]


def test_kernels_are_chosen_as_the_flags_say(make_settings, usual_kernels):
    settings = make_settings(gradient_checkpointing=True, channels_last=True, deterministic=True)
    base = trainer_of(settings).base
    assert base.unet.is_gradient_checkpointing
    assert base.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.deterministic


def test_channels_last_changes_rounding_alone(run, plain, tmp_path):
    run(**STEPS, channels_last=True)
    assert_same_run(plain[0], tmp_path / "run")


def test_bf16_learns_nearly_the_same_in_fp32_weights(run, plain, tmp_path):
    run(**STEPS, mixed_precision="bf16")
    saved = load_file(list_states(tmp_path / "run")[-1])
    assert {value.dtype for value in saved.values()} == {torch.float32}
    begun = start(plain[0])
    whole, half = (learnt(folder) - begun for folder in (plain[0], tmp_path / "run"))
    assert not torch.equal(whole, half)
    assert torch.cosine_similarity(whole, half, dim=0) > 0.8


def test_the_average_follows_and_does_not_lead(run, plain, tmp_path):
    run(**STEPS, use_ema=True)
    adapter, average = (learnt(tmp_path / "run", name) for name in ("adapter", "ema"))
    assert torch.equal(adapter, learnt(plain[0]))
    begun = start(plain[0])
    assert 0 < (average - begun).norm() < (adapter - begun).norm()
