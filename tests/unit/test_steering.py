import pytest
import torch

from local_control.steering import edge_loss, step_towards_edges


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
