import pytest
import torch
from images import left_side

from local_control.gating import blend_predictions, gate_features, spread_weights
from local_control.masks import resize_mask


@pytest.fixture
def features(generator):
    return [
        None,
        torch.randn(2, 3, 8, 8, generator=generator),
        torch.randn(2, 5, 5, 3, generator=generator),
    ]


def test_mask_one_changes_nothing(features):
    for gated, feature in zip(
        gate_features(features, torch.ones(1, 1, 64, 64)), features, strict=True
    ):
        assert gated is feature is None or torch.equal(gated, feature)


def test_mask_zero_gives_zero(features):
    gated = gate_features(features, torch.zeros(1, 1, 64, 64))
    assert all(x is None or not x.any() for x in gated)


def test_left_half_is_kept_and_right_half_is_cut():
    feature = torch.ones(1, 2, 4, 4)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :32] = 1
    (gated,) = gate_features([feature], mask)
    assert gated[..., :2].all()
    assert not gated[..., 2:].any()


def test_inputs_are_not_changed(features):
    before = [x if x is None else x.clone() for x in features]
    gate_features(features, torch.zeros(1, 1, 64, 64), [0.5, 0.5])
    for now, then in zip(features, before, strict=True):
        assert now is then is None or torch.equal(now, then)


def test_each_level_has_its_weight(features):
    gated = gate_features(features, torch.ones(1, 1, 64, 64), [0.5, 0.0])
    assert torch.equal(gated[1], features[1] * 0.5)
    assert not gated[2].any()
    with pytest.raises(ValueError, match="3 level weights for 2"):
        gate_features(features, torch.ones(1, 1, 64, 64), [1, 1, 1])


def test_a_shared_tensor_is_gated_once_and_shared_again(features):
    shared = features[1]
    gated = gate_features([shared, shared], torch.full((1, 1, 8, 8), 0.5))
    assert gated[0] is gated[1]
    assert torch.equal(gated[0], shared * 0.5)


def test_half_precision_stays_half_precision(features):
    gated = gate_features([features[1].half()], torch.ones(1, 1, 8, 8))
    assert gated[0].dtype == torch.float16


@pytest.mark.parametrize("side", [8, 16, 32, 64])
def test_levels_of_a_size_that_is_no_multiple_are_cut_into_cells_from_the_corner(side):
    """72 px are one whole cell of 64 px and one that sticks out, not two of 36 px."""
    mask = left_side(72, 72)
    (gated,) = gate_features([torch.ones(1, 1, -(-72 // side), -(-72 // side))], mask)
    for column, share in enumerate(gated[0, 0, 0]):
        seen = mask[0, 0, 0, column * side : (column + 1) * side]
        inside = seen.sum() + (side - len(seen)) * seen[-1]  # it goes on as at the border
        assert share == pytest.approx(inside.item() / side)


@pytest.mark.parametrize("size", [(64, 64), (128, 192), (512, 768)])
def test_levels_of_a_size_that_is_a_multiple_are_resized_by_area_as_ever(size, generator):
    mask = torch.rand(1, 1, *size, generator=generator)
    for side in (8, 16, 32, 64):
        grid = (size[0] // side, size[1] // side)
        (gated,) = gate_features([torch.ones(1, 1, *grid)], mask)
        assert torch.equal(gated, resize_mask(mask, grid))


def test_a_grid_of_no_cells_divides_the_frame_evenly():
    (gated,) = gate_features([torch.ones(1, 1, 5, 6)], left_side(64, 64))
    assert gated[0, 0, 0].tolist() == [1, 1, 1, 0, 0, 0]


def test_weights_are_spread_evenly_in_order():
    assert spread_weights((1.0, 0.5), 5) == [1, 1, 1, 0.5, 0.5]
    assert spread_weights(None, 2) == [1, 1]


def predictions(generator):
    return (torch.randn(2, 4, 6, 5, generator=generator) for _ in range(2))


def test_predictions_are_blended_bit_for_bit_at_masks_of_one_and_zero(generator):
    controlled, free = predictions(generator)
    mask = torch.zeros(1, 1, 48, 40)
    assert torch.equal(blend_predictions(controlled, free, mask), free)
    assert torch.equal(blend_predictions(controlled, free, mask + 1), controlled)
    mask[..., :16, :] = 1
    blended = blend_predictions(controlled, free, mask)
    assert torch.equal(blended[..., :2, :], controlled[..., :2, :])
    assert torch.equal(blended[..., 2:, :], free[..., 2:, :])


def test_a_soft_mask_blends_predictions_by_its_share(generator):
    controlled, free = predictions(generator)
    blended = blend_predictions(controlled, free, torch.full((2, 1, 6, 5), 0.25))
    torch.testing.assert_close(blended, 0.25 * controlled + 0.75 * free)


def test_blended_predictions_keep_their_dtype(generator):
    controlled, free = (x.half() for x in predictions(generator))
    assert blend_predictions(controlled, free, torch.rand(1, 1, 48, 40)).dtype == torch.float16
