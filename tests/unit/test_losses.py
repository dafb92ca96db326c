import dataclasses

import pytest
import torch

from local_control.losses import (
    Denoising,
    FreedomLoss,
    LocalControlLoss,
    NoiseLoss,
    SnrWeight,
    TimeWeight,
    Z0Loss,
)
from local_control.z0 import PredictionType


def make_batch(generator, size=16, kind=PredictionType.EPSILON):
    shape = (3, 4, size, size)
    z0, noise, error = (torch.randn(shape, generator=generator) for _ in range(3))
    alpha_bar = torch.tensor([0.99, 0.5, 0.01])
    a = alpha_bar.view(-1, 1, 1, 1)
    return Denoising(
        output=noise + 0.1 * error,
        free=noise,
        target=noise,
        z_t=a.sqrt() * z0 + (1 - a).sqrt() * noise,
        z0=z0,
        alpha_bar=alpha_bar,
        timestep=torch.tensor([10, 500, 990]),
        mask=torch.ones(3, 1, 8 * size, 8 * size),
        kind=kind,
    )


@pytest.fixture
def batch(generator):
    return make_batch(generator)


def with_mask(batch, mask):
    return dataclasses.replace(batch, mask=mask)


def half(batch):
    mask = torch.zeros_like(batch.mask)
    mask[..., : mask.shape[-1] // 2] = 1
    return with_mask(batch, mask)


ALL = [
    NoiseLoss(),
    NoiseLoss(masked=True),
    NoiseLoss(masked=True, mean="area"),
    Z0Loss(None),
    Z0Loss("sobel"),
    Z0Loss("sobel", mean="pixels"),
    Z0Loss("sobel_gradients"),
    Z0Loss("laplacian"),
    FreedomLoss(),
    LocalControlLoss(z0_weight=2.0, freedom_weight=3.0),
]


@pytest.mark.parametrize("loss", ALL)
def test_a_perfect_prediction_costs_nothing(batch, loss):
    perfect = dataclasses.replace(batch, output=batch.target)
    torch.testing.assert_close(loss(perfect), torch.zeros(3), atol=1e-6, rtol=0)


@pytest.mark.parametrize("loss", ALL)
def test_there_is_one_value_a_sample_and_samples_do_not_mix(batch, loss):
    alone = Denoising(
        **{
            f.name: getattr(batch, f.name)[1:2]
            for f in dataclasses.fields(batch)
            if f.name != "kind"
        }
    )
    torch.testing.assert_close(loss(batch)[1:2], loss(alone))


@pytest.mark.parametrize("loss", ALL[1:-2])
def test_an_empty_mask_gives_zero_and_finite_gradients(batch, loss):
    output = batch.output.clone().requires_grad_()
    empty = dataclasses.replace(batch, output=output, mask=torch.zeros_like(batch.mask))
    value = loss(empty)
    assert not value.any()
    value.sum().backward()
    assert not output.grad.any()


def test_gradients_stay_inside_an_eroded_mask(batch):
    output = batch.output.clone().requires_grad_()
    left = half(dataclasses.replace(batch, output=output))
    Z0Loss("sobel", erode_cells=1)(left).sum().backward()
    assert not output.grad[..., 8:].any()
    assert output.grad[..., :7].any()


def test_without_erosion_gradients_leak_by_one_cell_and_no_further(batch):
    output = batch.output.clone().requires_grad_()
    Z0Loss("sobel")(half(dataclasses.replace(batch, output=output))).sum().backward()
    assert output.grad[..., 8].any()
    assert not output.grad[..., 9:].any()


def test_area_mean_does_not_depend_on_how_much_is_masked(batch):
    constant = dataclasses.replace(batch, output=batch.target + 0.1)
    loss = NoiseLoss(masked=True, mean="area")
    torch.testing.assert_close(loss(constant), loss(half(constant)))
    pixels = NoiseLoss(masked=True, mean="pixels")
    torch.testing.assert_close(pixels(constant), 2 * pixels(half(constant)))


def test_the_term_is_exact_under_autocast(batch):
    loss = Z0Loss("sobel")
    plain = loss(batch)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(loss(batch), plain)


def test_a_flat_area_has_finite_sobel_gradients(batch):
    output = torch.zeros_like(batch.output).requires_grad_()
    flat = dataclasses.replace(
        batch, output=output, z_t=torch.zeros_like(batch.z_t), z0=torch.zeros_like(batch.z0)
    )
    Z0Loss("sobel")(flat).sum().backward()
    assert bool(output.grad.isfinite().all())


def test_schedules_follow_their_formula():
    timestep, alpha_bar = torch.tensor([0, 499, 500, 999]), torch.tensor([0.9991, 0.28, 0.27, 0.0])

    def weight(schedule, **kwargs):
        return TimeWeight(schedule, **kwargs)(timestep, alpha_bar)

    assert torch.equal(weight("constant"), torch.ones(4))
    assert torch.equal(weight("step_unit"), torch.tensor([0.0, 0.0, 1.0, 1.0]))
    assert torch.equal(weight("time_unit"), 1 - alpha_bar)
    assert torch.equal(weight("alpha_bar"), alpha_bar)
    snr = alpha_bar / (1 - alpha_bar)
    torch.testing.assert_close(weight("min_snr", gamma=5), snr.clamp(max=5) / 5)


def test_v_prediction_reaches_the_same_z0_loss(generator):
    eps = make_batch(generator)
    a = eps.alpha_bar.view(-1, 1, 1, 1)
    z0 = (eps.z_t - (1 - a).sqrt() * eps.output) / a.sqrt()
    v = a.sqrt() * eps.output - (1 - a).sqrt() * z0
    as_v = dataclasses.replace(eps, output=v, kind=PredictionType.V)
    torch.testing.assert_close(Z0Loss()(as_v), Z0Loss()(eps), rtol=1e-3, atol=1e-3)


def test_terms_add_up_and_a_weight_of_zero_is_not_computed(batch):
    loss = LocalControlLoss(noise_weight=0.5, z0_weight=2.0)
    terms = loss.terms(batch)
    torch.testing.assert_close(terms["noise"], 0.5 * NoiseLoss()(batch))
    torch.testing.assert_close(terms["z0"], 2.0 * Z0Loss()(batch))
    torch.testing.assert_close(loss(batch), terms["noise"] + terms["z0"])
    assert list(LocalControlLoss().terms(batch)) == ["noise"]
    assert not loss.needs_free
    free = LocalControlLoss(freedom_weight=3.0)
    assert free.needs_free
    left = half(batch)
    torch.testing.assert_close(free.terms(left)["freedom"], 3.0 * FreedomLoss()(left))


def test_freedom_costs_what_changes_outside_whatever_the_inside_does(batch):
    left = half(batch)
    change = torch.zeros_like(batch.output)
    change[..., :8] = 5.0  # the mask's half of the latent
    inside = dataclasses.replace(left, output=left.free + change)
    assert not FreedomLoss()(inside).any()
    outside = dataclasses.replace(left, output=left.free + change.flip(-1))
    torch.testing.assert_close(FreedomLoss()(outside), torch.full((3,), 25.0))
    assert not FreedomLoss()(with_mask(outside, torch.ones_like(batch.mask))).any()


def test_freedom_has_a_margin_and_a_schedule(batch):
    left = half(batch)
    changed = dataclasses.replace(left, output=left.free - 0.5)
    torch.testing.assert_close(FreedomLoss(margin=0.2)(changed), torch.full((3,), 0.09))
    assert not FreedomLoss(margin=0.6)(changed).any()
    weighted = FreedomLoss(TimeWeight("alpha_bar"))(changed)
    torch.testing.assert_close(weighted, 0.25 * batch.alpha_bar)


def snr(alpha_bar):
    return alpha_bar / (1 - alpha_bar)


@pytest.mark.parametrize("kind", list(PredictionType))
def test_min_snr_counts_an_error_in_z0_up_to_gamma(kind):
    """The same error in z0 costs min(SNR, gamma), whatever the model predicts."""
    alpha_bar = torch.tensor([0.99, 0.5, 0.1])
    per_z0 = snr(alpha_bar) + (1 if kind is PredictionType.V else 0)
    found = SnrWeight(5.0)(alpha_bar, kind) * per_z0
    torch.testing.assert_close(found, snr(alpha_bar).clamp(max=5))


def test_the_limit_of_min_snr_counts_an_error_in_z0_the_same_at_all_noise_levels():
    alpha_bar = torch.linspace(0.999, 0.005, 100)
    found = SnrWeight(0.0, alpha_bar)(alpha_bar, PredictionType.EPSILON)
    torch.testing.assert_close(found * snr(alpha_bar), (found * snr(alpha_bar))[:1].expand(100))
    near = SnrWeight(1e-3, alpha_bar)(alpha_bar, PredictionType.EPSILON)
    torch.testing.assert_close(near, found)


@pytest.mark.parametrize("normalised", [False, True])
def test_min_snr_of_noise_counts_wholly_at_zero_terminal_snr(normalised):
    drawn = torch.tensor([0.999, 0.5, 0.0])
    found = SnrWeight(1.0, drawn if normalised else None)(drawn, PredictionType.EPSILON)
    assert bool(found.isfinite().all())
    assert found[2] == found[1] > found[0] > 0


@pytest.mark.parametrize("gamma", [0.0, 0.3, 5.0])
def test_normalised_weights_have_a_mean_of_one_over_what_is_drawn(gamma):
    drawn = torch.linspace(0.999, 0.005, 1000)
    found = SnrWeight(gamma, drawn)(drawn, PredictionType.EPSILON)
    assert found.mean().item() == pytest.approx(1)


def test_the_limit_is_not_to_be_had_unless_normalised():
    with pytest.raises(ValueError, match="gamma 0"):
        SnrWeight(0.0)


def test_an_unknown_filter_is_named():
    with pytest.raises(ValueError, match="scharr"):
        Z0Loss("scharr")
