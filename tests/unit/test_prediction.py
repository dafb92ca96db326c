import pytest
import torch

from local_control.z0 import PredictionType, check_levels, predict_z0


@pytest.fixture
def pair(generator):
    z0 = torch.randn(3, 4, 5, 7, generator=generator)
    noise = torch.randn(3, 4, 5, 7, generator=generator)
    return z0, noise


LEVEL = torch.tensor([0.9, 0.5, 0.0047])


@pytest.mark.parametrize(
    ("kind", "mix", "target"),
    [
        (
            PredictionType.EPSILON,
            lambda z, n, a: a.sqrt() * z + (1 - a).sqrt() * n,
            lambda z, n, a: n,
        ),
        (
            PredictionType.V,
            lambda z, n, a: a.sqrt() * z + (1 - a).sqrt() * n,
            lambda z, n, a: a.sqrt() * n - (1 - a).sqrt() * z,
        ),
    ],
)
def test_a_perfect_prediction_gives_z0(pair, kind, mix, target):
    z0, noise = pair
    level = LEVEL.view(-1, 1, 1, 1)
    found = predict_z0(target(z0, noise, level), mix(z0, noise, level), LEVEL, kind)
    torch.testing.assert_close(found, z0, rtol=1e-4, atol=1e-4)


def test_half_precision_inputs_are_computed_in_fp32(pair):
    z0, noise = pair
    found = predict_z0(noise.half(), z0.half(), LEVEL, PredictionType.EPSILON)
    assert found.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        inside = predict_z0(noise.half(), z0.half(), LEVEL, PredictionType.EPSILON)
    assert torch.equal(found, inside)


def test_noise_prediction_at_zero_terminal_snr_is_refused():
    with pytest.raises(ValueError, match="infinite"):
        check_levels(torch.tensor([0.5, 0.0, 0.1]), PredictionType.EPSILON)
    check_levels(torch.tensor([0.5, 0.1]), PredictionType.EPSILON)


def test_v_prediction_is_finite_at_zero_terminal_snr(pair):
    z0, noise = pair
    found = predict_z0(-z0, noise, torch.zeros(3), PredictionType.V)
    torch.testing.assert_close(found, z0)


@pytest.mark.parametrize("bad", [torch.zeros(3, 4, 5, 6), torch.zeros(2, 4, 5, 7)])
def test_other_shapes_are_refused_with_both_named(pair, bad):
    with pytest.raises(ValueError, match="shape"):
        predict_z0(bad, pair[0], LEVEL, PredictionType.EPSILON)


def test_a_level_for_each_latent_is_needed(pair):
    with pytest.raises(ValueError, match="one value for each of the 3"):
        predict_z0(*pair, torch.tensor([0.5]), PredictionType.EPSILON)
