import pytest
import torch

from local_control.placement import Fit, bounds, place


def boxed(top, left, bottom, right, size=(40, 60)):
    mask = torch.zeros(1, 1, *size)
    mask[..., top:bottom, left:right] = 1
    return mask


def test_bounds_hold_all_that_is_not_black():
    assert bounds(boxed(5, 10, 25, 50)[0]) == (5, 10, 25, 50)
    with pytest.raises(ValueError, match="all black"):
        bounds(torch.zeros(1, 4, 4))


@pytest.mark.parametrize("fit", [Fit.CONTAIN, Fit.COVER, Fit.STRETCH])
@pytest.mark.parametrize("size", [(7, 9), (30, 10), (100, 200)])
def test_nothing_stands_outside_the_bounds(fit, size):
    mask = boxed(5, 10, 25, 50)
    placed = place(torch.ones(1, 3, *size), mask, fit)
    assert placed.shape == (1, 3, 40, 60)
    assert (placed * (1 - mask)).abs().max() == 0


def test_each_fit_keeps_what_it_promises():
    mask = boxed(0, 0, 20, 40)
    picture = torch.ones(1, 1, 10, 10)  # a square for a wide box
    assert place(picture, mask, Fit.STRETCH)[..., :20, :40].min() == 1
    assert place(picture, mask, Fit.COVER)[..., :20, :40].min() == 1
    contained = place(picture, mask, Fit.CONTAIN)
    assert contained[..., :20, 10:30].min() == 1
    assert contained.sum() == pytest.approx(400, rel=0.01)


def test_cover_cuts_evenly_and_contain_cuts_nothing():
    picture = torch.zeros(1, 1, 10, 40)
    picture[..., 0] = picture[..., -1] = 1
    mask = boxed(10, 20, 20, 30)
    assert place(picture, mask, Fit.COVER).sum() == 0
    assert place(picture, mask, Fit.CONTAIN).sum() > 0


def test_other_numbers_of_pictures_and_masks_are_named():
    with pytest.raises(ValueError, match="2 pictures for 3 masks"):
        place(torch.ones(2, 1, 5, 5), boxed(0, 0, 5, 5).expand(3, -1, -1, -1), Fit.STRETCH)


def test_every_mask_of_a_batch_has_its_own_place():
    masks = torch.cat([boxed(0, 0, 10, 10), boxed(20, 30, 40, 60)])
    placed = place(torch.ones(1, 1, 5, 5), masks, Fit.STRETCH)
    assert torch.equal(placed, masks)
