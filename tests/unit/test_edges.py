"""Conventions of the edge filters: sign, scale and border, as their docstrings tell them."""

import pytest
import torch

from local_control.edges import laplacian, sobel_gradients, sobel_magnitude

BLANK = torch.zeros(1, 1, 9, 9)


def step(vertical=False):
    """0 at the left (or the top), 1 from the fifth pixel on."""
    picture = BLANK.clone()
    picture[..., 5:] = 1
    return picture.mT if vertical else picture


@pytest.mark.parametrize("vertical", [False, True])
def test_sobel_of_a_step_is_a_half_on_both_sides(vertical):
    found = sobel_magnitude(step(vertical))
    row = (found.mT if vertical else found)[0, 0, 4]
    torch.testing.assert_close(row[4:6], torch.full((2,), 0.5))
    torch.testing.assert_close(row[:3], torch.full((3,), 1e-3), rtol=1e-3, atol=0)


@pytest.mark.parametrize(("vertical", "channel"), [(False, 0), (True, 1)])
def test_sobel_gradients_rise_to_the_right_and_downwards(vertical, channel):
    found = sobel_gradients(step(vertical))
    assert found.shape == (1, 2, 9, 9)
    assert found[0, channel].max() == 0.5
    assert not found[0, 1 - channel].any()
    assert torch.equal(sobel_gradients(-step(vertical)), -found)


def test_gradients_of_several_channels_stand_in_pairs():
    both = torch.cat([step(), step(vertical=True)], 1)
    assert torch.equal(sobel_gradients(both)[:, 2:], sobel_gradients(step(vertical=True)))


def test_the_laplacian_is_positive_on_the_dark_side():
    row = laplacian(step())[0, 0, 4]
    assert row[4] > 0 > row[5]
    pixel = BLANK.clone()
    pixel[..., 4, 4] = 1
    torch.testing.assert_close(laplacian(pixel)[0, 0, 4, 4], torch.tensor(-0.5))


@pytest.mark.parametrize("edges", [sobel_gradients, laplacian])
def test_borders_of_flat_pictures_are_no_edges(edges):
    torch.testing.assert_close(edges(BLANK + 1), torch.zeros_like(edges(BLANK)))
