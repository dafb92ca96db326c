import pytest
import torch
from images import left_side

from local_control.region_mask import RegionMask, in_window, match_batch, resize_frames, take_rows
from local_control.view import View, Window, cover


def whole(height, width, window=None):
    return View((height, width), (height, width), window=window)


def test_tokens_run_along_rows():
    mask = RegionMask(torch.arange(6.0).reshape(1, 1, 2, 3) / 6)
    tokens = mask.as_tokens(6, whole(2, 3))
    assert (tokens * 6).round().flatten().tolist() == [0, 1, 2, 3, 4, 5]


def test_tokens_of_the_left_half_are_kept():
    gate = RegionMask(left_side(48, 64)).as_tokens(12, whole(6, 8)).reshape(3, 4)
    assert gate[:, :2].all()
    assert not gate[:, 2:].any()


@pytest.mark.parametrize("size", [(9, 13), (7, 10), (1, 2), (64, 96)])
@pytest.mark.parametrize("patch", [1, 2, 4, 16, 32])
def test_every_token_is_gated_by_its_own_patch_at_odd_sizes(size, patch):
    grid = [-(-side // patch) for side in size]
    lit = (grid[0] - 1, grid[1] - 1)
    mask = torch.zeros(1, 1, 8 * size[0], 8 * size[1])
    mask[..., 8 * patch * lit[0] :, 8 * patch * lit[1] :] = 1
    gate = RegionMask(mask).as_tokens(grid[0] * grid[1], whole(*size)).reshape(grid)
    assert gate[lit] == 1
    assert gate.sum() == 1


def test_tokens_of_a_video_have_their_frames_mask():
    masks = torch.cat([left_side(32, 32), 1 - left_side(32, 32), torch.ones(1, 1, 32, 32)])
    gate = RegionMask(masks).as_tokens(12, whole(4, 4), steps=3).reshape(3, 2, 2)
    assert gate[0].tolist() == [[1, 0], [1, 0]]
    assert gate[1].tolist() == [[0, 1], [0, 1]]
    assert gate[2].all()


def test_one_mask_serves_all_frames_of_a_video():
    gate = RegionMask(left_side(32, 32)).as_tokens(12, whole(4, 4), steps=3).reshape(3, 2, 2)
    assert gate[..., 0].all()
    assert not gate[..., 1].any()


def test_tokens_that_are_no_grid_are_refused():
    with pytest.raises(ValueError, match="7 tokens for a latent of 8 x 6"):
        RegionMask(torch.ones(1, 1, 48, 64)).as_tokens(7, whole(6, 8))


@pytest.mark.parametrize("size", [(4, 4), (9, 13), (64, 96)])
@pytest.mark.parametrize("shape", [(1, 64), (1, 8, 5, 7), (1, 8, 3, 5, 7)])
def test_everywhere_is_exactly_one_at_every_tensor(size, shape):
    if len(shape) == 2:
        shape = (1, -(-size[0] // 2) * -(-size[1] // 2), 8)
    steps = 3 if len(shape) == 5 else 1
    assert (RegionMask.everywhere().as_factor(shape, whole(*size), 2, steps) == 1).all()


def test_a_window_of_latents_has_the_masks_of_its_latents():
    masks = RegionMask(torch.arange(6.0).view(6, 1, 1, 1).expand(-1, -1, 32, 32) / 6)
    view = whole(4, 4, Window((4, 1, 5), 6))
    gate = masks.on_grid((2, 2), view, batch=3)
    assert (gate[:, 0, 0, 0] * 6).round().tolist() == [4, 1, 5]


def test_masks_for_a_window_alone_are_refused_by_how_many_latents_there_are():
    masks = RegionMask(torch.ones(4, 1, 32, 32))
    with pytest.raises(ValueError, match="4 masks for 6 latents"):
        masks.on_grid((2, 2), whole(4, 4, Window((0, 1, 2, 3), 6)), batch=4)


def test_a_window_of_frames_has_the_masks_of_its_frames():
    """Eight masks over eight frames, of which a window shows the last four."""
    masks = RegionMask(torch.arange(8.0).view(8, 1, 1, 1).expand(-1, -1, 64, 64) / 7)
    view = whole(8, 8, Window((4, 5, 6, 7), 8, of_frames=True))
    gate = masks.as_tokens(64, view, steps=4).reshape(4, 16)[:, 0]
    torch.testing.assert_close(gate, torch.arange(4.0, 8.0) / 7)


def test_a_mask_for_each_second_frame_is_shared_before_the_window_is_cut():
    masks = RegionMask(torch.arange(4.0).view(4, 1, 1, 1).expand(-1, -1, 32, 32) / 3)
    view = whole(4, 4, Window((5, 6), 8, of_frames=True))
    gate = masks.on_grid((2, 2), view, steps=2)[:, 0, 0, 0]
    torch.testing.assert_close(gate, torch.tensor([2 / 3, 1.0]))


def test_guides_behind_a_window_go_with_its_last_row():
    rows = torch.arange(6.0).view(6, 1)
    assert in_window(rows, Window((2, 3), 6), 4).flatten().tolist() == [2, 3, 3, 3]
    assert in_window(rows[:1], Window((2, 3), 6), 4).flatten().tolist() == [0]


def test_an_area_sees_its_own_part():
    mask = RegionMask(left_side(64, 64))
    assert not mask.seen(View((8, 4), (8, 8), (0, 4))).any()
    assert (mask.on_grid((8, 4), View((8, 4), (8, 8), (0, 0))) == 1).all()


def test_a_mask_covers_a_frame_of_another_shape_centred():
    """A square mask over a frame twice as wide as high: its rows above and below are cut off."""
    white = torch.zeros(1, 1, 64, 64)
    white[..., 16:48, :] = 1
    assert (RegionMask(white).on_grid((4, 8), whole(4, 8)) == 1).all()
    assert cover(torch.rand(2, 3, 10, 20), (5, 5), "area").shape == (2, 3, 5, 5)


def test_masks_far_larger_than_pixel_models_latents_are_not_enlarged():
    assert RegionMask(torch.ones(1, 1, 256, 256)).seen(whole(256, 256)).shape[-2:] == (256, 256)


def test_one_mask_or_one_for_each_latent():
    assert len(match_batch(torch.ones(1, 1, 4, 4), 5)) == 1
    assert len(take_rows(torch.ones(5, 1, 4, 4), None, 5, "mask")) == 5
    with pytest.raises(ValueError, match="3 masks for 2 latents"):
        match_batch(torch.ones(3, 1, 4, 4), 2)


def test_frames_get_the_mean_of_the_masks_that_they_stand_for():
    masks = torch.tensor([0.0, 1.0, 1.0, 1.0]).view(4, 1, 1, 1)
    assert resize_frames(masks, 4).flatten().tolist() == [0, 1, 1, 1]
    assert resize_frames(masks, 2).flatten().tolist() == [0.5, 1]
    assert resize_frames(masks[:2], 4).flatten().tolist() == [0, 0, 1, 1]
    assert resize_frames(masks[1:2], 3).flatten().tolist() == [1, 1, 1]
