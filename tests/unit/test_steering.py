import pytest
import torch

from local_control.steering import StrengthLoop, edge_alignment, edge_loss, step_towards_edges


def latents(scale=1.0, side=16):
    generator = torch.Generator().manual_seed(0)
    return [scale * torch.randn(2, 4, side, side, generator=generator) for _ in range(2)]


@pytest.mark.parametrize("edge", ["sobel", "sobel_gradients", "laplacian"])
def test_a_step_lowers_the_loss_and_repeated_steps_nearly_end_it(edge):
    z0, reference = latents()
    mask = torch.ones(1, 1, 128, 128)
    before = after = edge_loss(z0, reference, mask, edge)
    for _ in range(30):
        z0 = step_towards_edges(z0, reference, mask, edge)
        after = edge_loss(z0, reference, mask, edge)
    assert (after < 0.1 * before).all()


def test_the_step_does_not_depend_on_the_scale_of_the_latent():
    mask = torch.ones(1, 1, 128, 128)
    moves = []
    for scale in (1.0, 10.0):
        z0, reference = latents(scale)
        moves.append((step_towards_edges(z0, reference, mask) - z0) / scale)
    torch.testing.assert_close(moves[0], moves[1], rtol=1e-2, atol=1e-3)


def test_nothing_moves_far_from_the_mask():
    z0, reference = latents()
    mask = torch.zeros(1, 1, 128, 128)
    mask[..., :64] = 1
    move = step_towards_edges(z0, reference, mask) - z0
    assert move[..., :8].abs().max() > 0
    assert move[..., 10:].abs().max() == 0  # the filter reads one cell beyond the mask


def test_an_empty_mask_or_a_reached_reference_moves_nothing():
    z0, reference = latents()
    assert torch.equal(step_towards_edges(z0, reference, torch.zeros(1, 1, 16, 16)), z0)
    assert torch.equal(step_towards_edges(z0, z0, torch.ones(1, 1, 16, 16)), z0)


def test_it_works_in_inference_mode():
    with torch.inference_mode():
        z0, reference = latents()
        moved = step_towards_edges(z0, reference, torch.ones(1, 1, 16, 16))
    assert not torch.equal(moved, z0)


@pytest.fixture
def latent(generator):
    return torch.randn(2, 4, 16, 16, generator=generator)


def test_alignment_is_of_place_and_direction_not_of_strength(latent):
    mask = torch.ones(1, 1, 128, 128)
    torch.testing.assert_close(edge_alignment(0.1 * latent + 3, latent, mask), torch.ones(2))
    torch.testing.assert_close(edge_alignment(-latent, latent, mask), -torch.ones(2))
    assert edge_alignment(latent.flip(0), latent, mask).abs().max() < 0.2
    assert (edge_alignment(torch.zeros_like(latent), latent, mask) == 0).all()


def test_only_the_inside_of_the_mask_counts(latent):
    mask = torch.zeros(1, 1, 128, 128)
    mask[..., :64] = 1
    other = latent.clone()
    other[..., 9:] = 0  # a Sobel filter sees one cell further
    torch.testing.assert_close(edge_alignment(other, latent, mask), torch.ones(2))


def test_the_factor_rises_below_the_target_falls_above_and_keeps_its_bounds():
    loop = StrengthLoop(target=0.5, gain=1.0, bounds=(0.5, 2.0))
    factors = []
    for alignment in (0.2, 0.5, 0.9):
        loop.acting = True
        loop.update(alignment)
        factors.append(loop.factor)
    assert factors[0] > 1
    assert factors[1] == factors[0] > factors[2]
    for alignment, bound in ((-1.0, 2.0), (1.0, 0.5)):
        for _ in range(9):
            loop.acting = True
            loop.update(alignment)
        assert loop.factor == bound


def test_nothing_is_learnt_while_the_region_does_not_act():
    loop = StrengthLoop(target=0.5, gain=1.0, bounds=(0.5, 2.0))
    loop.update(0.0)
    assert loop.factor == 1
    loop.acting = True
    loop.update(0.0)
    loop.reset()
    assert (loop.factor, loop.acting) == (1, False)
