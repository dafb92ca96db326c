import math

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from local_control.masks import MaskResize, dilate, erode, feather, has_white, resize_mask
from local_control.placement import bounds

MODES = list(MaskResize)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("size", [(8, 8), (7, 5), (1, 1), (130, 140)])
def test_a_constant_mask_stays_constant(mode, value, size):
    mask = torch.full((2, 1, 96, 128), value)
    assert torch.equal(resize_mask(mask, size, mode), torch.full((2, 1, *size), value))


@pytest.mark.parametrize("mode", MODES)
def test_left_stays_left(mode):
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :32] = 1
    small = resize_mask(mask, (8, 8), mode)
    assert torch.equal(small, mask[..., ::8, ::8])


def test_area_keeps_the_coverage_of_thin_strokes_and_the_reference_loses_them():
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 31] = 1
    assert resize_mask(mask, (8, 8)).mean() == mask.mean()
    assert resize_mask(mask, (8, 8), MaskResize.REFERENCE).sum() == 0


def test_area_keeps_its_place_and_the_reference_shifts():
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 20:] = 1
    area = resize_mask(mask, (8, 8))[0, 0, 0]
    reference = resize_mask(mask, (8, 8), MaskResize.REFERENCE)[0, 0, 0]
    assert area.tolist() == [0, 0, 0.5, 1, 1, 1, 1, 1]  # half of cell 2 is white
    assert reference.tolist() == [0, 0, 0, 1, 1, 1, 1, 1]


def box(low, high, size=64):
    mask = torch.zeros(1, 1, size, size)
    mask[..., low:high, low:high] = 1
    return mask


def test_feather_stays_inside_and_reaches_one_within_its_radius():
    mask = box(10, 50)
    soft = feather(mask, 8)
    assert bool((soft <= mask).all())
    assert soft[0, 0, 30, 10] < 0.2
    assert soft[0, 0, 30, 18] > 0.9
    assert bool((soft[0, 0, 30, 10:30].diff() >= 0).all())


@pytest.mark.parametrize("radius", [0, 3, 100])
def test_feather_leaves_full_and_empty_masks_alone(radius):
    for mask in (torch.ones(1, 1, 40, 64), torch.zeros(1, 1, 40, 64)):
        torch.testing.assert_close(feather(mask, radius), mask)


def test_erode_shrinks_by_the_radius_but_not_at_the_frame():
    assert torch.equal(erode(box(10, 50), 3), box(13, 47))
    assert torch.equal(erode(torch.ones(1, 1, 9, 9), 2), torch.ones(1, 1, 9, 9))
    assert torch.equal(erode(box(10, 50), 0), box(10, 50))


@pytest.mark.parametrize("radius", [1, 3, 8])
def test_dilate_is_the_maximum_of_a_square(radius):
    mask = (torch.rand(2, 1, 33, 20, generator=torch.Generator().manual_seed(0)) > 0.97).float()
    square = F.max_pool2d(mask, 2 * radius + 1, stride=1, padding=radius)
    assert torch.equal(dilate(mask, radius), square)


def test_the_work_of_dilate_does_not_grow_with_the_area_of_its_square(monkeypatch):
    cells, pool = [], F.max_pool2d

    def counted(mask, window, **options):
        cells.append(math.prod(window))
        return pool(mask, window, **options)

    monkeypatch.setattr(F, "max_pool2d", counted)
    dilate(torch.zeros(1, 1, 16, 16), 64)
    assert sum(cells) == 2 * (2 * 64 + 1)


def test_the_noise_of_a_jpeg_is_no_white():
    shape = np.zeros((128, 128), np.uint8)
    shape[40:80, 30:90] = 255
    for quality in (50, 75, 90):
        _, data = cv2.imencode(".jpg", shape, [cv2.IMWRITE_JPEG_QUALITY, quality])
        mask = torch.from_numpy(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE) / 255).float()[None]
        assert ((mask > 0) & torch.from_numpy(shape == 0)).any()
        top, left, bottom, right = bounds(mask)
        assert max(abs(top - 40), abs(left - 30), abs(bottom - 80), abs(right - 90)) <= 1
        assert not has_white(
            mask[None] * torch.from_numpy(cv2.dilate(shape, np.ones((3, 3))) == 0)
        ).any()
