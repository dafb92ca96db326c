import numpy as np
import pytest
import torch
import torch.nn.functional as F

from training.data.augment import apply_crop, crop_sample, plan_crop
from training.data.buckets import buckets, nearest_bucket
from training.data.records import Digests, Sample


def rng(seed=0):
    return np.random.default_rng(seed)


def blocks(height, width, seed=0):
    """A picture of large blocks, which scaling keeps recognisable."""
    cells = rng(seed).integers(0, 2, (height // 16, width // 16)) * 255
    return np.kron(cells, np.ones((16, 16))).astype(np.uint8)


@pytest.mark.parametrize("size", [(64, 64), (96, 64), (64, 128)])
@pytest.mark.parametrize("seed", range(6))
def test_picture_condition_and_mask_stay_aligned(size, seed):
    plane = blocks(192, 256, seed)
    image = np.repeat(plane[..., None], 3, -1)
    sample = Sample("x", image, "", image.copy(), plane[None], Digests(""))
    crop = plan_crop((192, 256), size, rng(seed), random=True, flip=True)
    out = crop_sample(sample, crop)
    assert out.image.shape == (*size, 3)
    assert out.masks.shape == (1, *size)
    sure = (out.image[..., 0] < 30) | (out.image[..., 0] > 225)  # not between two blocks
    bright = out.image[..., 0] > 127
    assert sure.mean() > 0.5
    assert (bright == (out.condition[..., 0] > 127))[sure].mean() > 0.99
    assert (bright == (out.masks[0] > 127))[sure].mean() > 0.99


def test_the_crop_is_where_the_plan_says():
    gradient = np.tile(np.arange(200, dtype=np.uint8), (100, 1))
    crop = plan_crop((100, 200), (100, 100), rng(3), random=True, flip=False)
    out = apply_crop(gradient, crop)
    assert out[0, 0] == crop.corner[1]
    centre = plan_crop((100, 200), (100, 100), rng(3), random=False, flip=False)
    assert centre.corner == (0, 50)


def test_thin_masks_outlast_shrinking_and_conditions_are_scaled_as_for_sampling():
    lines = np.zeros((256, 256, 3), np.uint8)
    lines[:, 1::13] = 255
    sample = Sample("x", lines, "", lines, lines[None, ..., 0], Digests(""))
    for side in (64, 100, 300):
        out = crop_sample(sample, plan_crop((256, 256), (side, side), rng(), False, False))
        assert (out.masks[0].max(0) > 0).sum() >= 20
        plane = torch.from_numpy(lines[..., 0])[None, None].float()
        seen = F.interpolate(plane, (side, side), mode="nearest-exact")[0, 0]
        assert np.array_equal(out.condition[..., 0], seen.numpy())


@pytest.mark.parametrize("seed", range(4))
def test_the_seen_corner_is_where_the_crop_lies_in_the_picture_that_it_shows(seed):
    gradient = np.tile(np.arange(200, dtype=np.uint8), (100, 1))
    crop = plan_crop((100, 200), (100, 60), rng(seed), random=True, flip=True)
    shown = gradient[:, ::-1] if crop.flipped else gradient
    top, left = crop.seen_corner
    assert np.array_equal(apply_crop(gradient, crop), shown[top : top + 100, left : left + 60])


def test_a_flip_mirrors_and_is_drawn_for_half():
    flips = [plan_crop((8, 8), (8, 8), rng(i), True, flip=True).flipped for i in range(400)]
    assert 150 < sum(flips) < 250
    row = np.arange(8, dtype=np.uint8)[None].repeat(8, 0)
    flipped = next(i for i in range(400) if flips[i])
    out = apply_crop(row, plan_crop((8, 8), (8, 8), rng(flipped), True, flip=True))
    assert out[0].tolist() == list(range(7, -1, -1))


def test_options_do_not_shift_later_draws():
    one, two = rng(5), rng(5)
    plan_crop((64, 64), (32, 32), one, random=True, flip=True)
    plan_crop((64, 64), (32, 32), two, random=False, flip=False)
    assert one.random() == two.random()


@pytest.mark.parametrize("resolution", [512, 1024])
def test_buckets_keep_area_and_step(resolution):
    found = buckets(resolution)
    assert (resolution, resolution) in found
    for height, width in found:
        assert height % 64 == width % 64 == 0
        assert 0.7 * resolution**2 <= height * width <= resolution**2
        assert (width, height) in found


def test_a_picture_goes_to_the_bucket_of_its_shape():
    choices = buckets(512)
    assert nearest_bucket((1000, 1000), choices) == (512, 512)
    height, width = nearest_bucket((600, 1000), choices)
    assert 1.4 < width / height < 2
    height, width = nearest_bucket((1000, 600), choices)
    assert 1.4 < height / width < 2
