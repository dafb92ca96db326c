import pytest
import torch

from local_control.closed_loop import StrengthLoop, edge_alignment


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
