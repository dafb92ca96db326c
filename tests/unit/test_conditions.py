import cv2
import numpy as np
import pytest
import torch

from local_control.conditions import CONDITIONS, canny, colour
from local_control.masks import dilate


@pytest.fixture
def picture():
    image = torch.zeros(2, 3, 64, 96)
    image[:, :, 16:48, 24:72] = 1
    return image


@pytest.mark.parametrize("kind", CONDITIONS)
def test_every_condition_keeps_size_batch_and_range(picture, kind):
    out = CONDITIONS[kind](picture)
    assert out.shape[0] == 2
    assert out.shape[1] in (1, 3)
    assert out.shape[2:] == picture.shape[2:]
    assert out.min() >= 0
    assert out.max() <= 1


@pytest.mark.parametrize("kind", ["canny", "sobel", "laplacian"])
def test_edges_are_where_the_picture_changes(picture, kind):
    out = CONDITIONS[kind](picture)
    assert not (out[:, :, 28:36, 36:60] > 0.05).any()
    assert out[:, :, 14:19, 40].max() > 0.5


def test_canny_is_opencvs(generator):
    image = torch.rand(1, 3, 32, 32, generator=generator)
    pixels = (image[0].movedim(0, -1).numpy() * 255).round().astype(np.uint8)
    assert np.array_equal(canny(image)[0, 0].numpy() * 255, cv2.Canny(pixels, 100, 200))


def test_blur_takes_texture_from_canny_and_leaves_outlines(picture, generator):
    textured = (picture + 0.3 * torch.rand(picture.shape, generator=generator)).clamp(0, 1)
    outline = dilate(canny(picture), 2)
    sharp, smooth = canny(textured), canny(textured, blur=2.0)
    assert (sharp * (1 - outline)).sum() > 100
    assert (smooth * (1 - outline)).sum() == 0
    assert (dilate(smooth, 3) * canny(picture)).sum() > 0.9 * canny(picture).sum()


def test_colour_keeps_the_mean_of_each_block(generator):
    image = torch.rand(1, 3, 64, 64, generator=generator)
    blocks = colour(image, blocks=8)
    torch.testing.assert_close(blocks[0, :, 0, 0], image[0, :, :8, :8].mean((1, 2)))
    assert len(blocks[0, 0].unique()) == 64
