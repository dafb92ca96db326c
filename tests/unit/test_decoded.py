"""The loss of decoded edges: where it looks, what it costs, and through what gradients flow."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from local_control.decoded import DecodedLoss, windows
from local_control.losses import Denoising

SIZE, FACTOR = 16, 4


def decode(latents):
    """Each latent cell as a block of a picture."""
    return F.interpolate(latents[:, :3], scale_factor=FACTOR)


@pytest.fixture
def batch(generator):
    z0, noise, wrong = (torch.randn(3, 4, SIZE, SIZE, generator=generator) for _ in range(3))
    alpha_bar = torch.tensor([0.99, 0.8, 0.2])
    a = alpha_bar.view(-1, 1, 1, 1)
    mask = torch.zeros(3, 1, 8 * SIZE, 8 * SIZE)
    mask[..., : 4 * SIZE] = 1
    z_t = a.sqrt() * z0 + (1 - a).sqrt() * noise
    output = noise + 0.1 * wrong
    return Denoising(output, noise, z_t, z0, alpha_bar, torch.tensor([0, 300, 900]), mask)


def test_a_true_z0_costs_nothing(batch):
    right = dataclasses.replace(batch, output=batch.target)
    assert DecodedLoss(decode)(right).abs().max() < 1e-8
    assert (DecodedLoss(decode)(batch)[:2] > 1e-6).all()


def test_steps_of_much_noise_cost_nothing_and_stay_finite(batch):
    noisy = dataclasses.replace(batch, alpha_bar=torch.tensor([0.99, 0.8, 0.0]))
    loss = DecodedLoss(decode)(noisy)
    assert loss.isfinite().all()
    assert loss[2] == 0


def test_gradients_stay_in_the_mask_and_the_window(batch):
    output = batch.output.clone().requires_grad_()
    DecodedLoss(decode, cells=SIZE)(dataclasses.replace(batch, output=output)).sum().backward()
    assert output.grad[:2, :3, :, : SIZE // 2].abs().sum() > 0
    assert not output.grad[..., SIZE // 2 + 1 :].any()  # the filter reads one pixel beyond
    output.grad = None
    DecodedLoss(decode, cells=4)(dataclasses.replace(batch, output=output)).sum().backward()
    touched = output.grad[0, 0].abs() > 0
    assert touched.any()
    assert not touched[:, : SIZE // 4 - 2].any()
    assert not touched[:, SIZE // 4 + 2 :].any()


def test_windows_are_around_the_middle_of_each_mask_and_wholly_inside():
    places = torch.arange(SIZE * SIZE).view(1, 1, SIZE, SIZE).float().expand(3, 1, -1, -1)
    mask = torch.zeros(3, 1, SIZE, SIZE)
    mask[0, 0, 6:10, 8:12] = 1
    mask[1, 0, 0, 0] = 1
    own, seen = windows((places, mask), mask, 4)
    assert torch.equal(own[0, 0], places[0, 0, 6:10, 8:12])
    assert torch.equal(own[1, 0], places[1, 0, :4, :4])
    assert seen[0].all()
    assert own.shape == (3, 1, 4, 4)  # the third mask is black
    (all_of_it,) = windows((places,), mask, 99)
    assert torch.equal(all_of_it, places)


@pytest.mark.parametrize("cells", [4, 24])
def test_what_lies_beyond_the_window_does_not_count(batch, cells):
    loss = DecodedLoss(decode, cells)
    changed = batch.output.clone()
    changed[..., SIZE // 2 + 2 :] += 5
    torch.testing.assert_close(loss(dataclasses.replace(batch, output=changed)), loss(batch))
