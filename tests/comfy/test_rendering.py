"""A batch of z0' as one picture."""

import numpy as np
import pytest
import torch
from PIL import Image
from watched import sample_model, shown_pictures


@pytest.mark.parametrize(
    ("count", "size", "grid"),
    [
        (1, (512, 512), (1, 1)),
        (2, (512, 512), (2, 1)),
        (3, (512, 512), (2, 2)),
        (4, (512, 512), (2, 2)),
        (5, (512, 512), (3, 2)),
        (64, (512, 512), (8, 8)),
        (4, (1024, 128), (1, 4)),
        (4, (128, 1024), (4, 1)),
        (9, (768, 512), (3, 3)),
    ],
)
def test_grids_are_near_to_square(comfy, count, size, grid):
    assert comfy.module("nodes.pictures.rendering").grid_of(count, size) == grid


@pytest.mark.parametrize("count", [1, 3, 16, 64])
def test_a_batch_of_any_size_is_shown_as_large_as_fits(comfy, model, count):
    decoding = comfy.module("nodes.pictures.decoding")
    latent_format = model.get_model_object("latent_format")
    draw = comfy.module("nodes.pictures.rendering").Renderer(
        decoding.estimate(latent_format), (), 1024
    )
    picture = draw(torch.zeros(count, 4, 64, 64))
    expected = {1: (512, 512), 3: (1024, 1024), 16: (1024, 1024), 64: (1024, 1024)}
    assert picture.size == expected[count]


def test_images_of_a_batch_stand_row_by_row(watch, model):
    watched, _, shown = watch(model)
    sample_model(watched, batch=5)
    whole = shown_pictures(shown)[-1]
    side = whole.height // 2
    assert whole.size == (3 * side, 2 * side)
    parts = [
        whole.crop((side * x, side * y, side * (x + 1), side * (y + 1)))
        for y in range(2)
        for x in range(3)
    ]
    assert len({part.tobytes() for part in parts}) == 6  # all differ
    assert not any(parts[5].tobytes())  # and none is the sixth


def test_the_corner_tells_the_step(comfy):
    write_step = comfy.module("nodes.pictures.rendering").write_step
    plain = Image.new("RGB", (128, 96), (90, 120, 40))
    shown = [np.asarray(write_step(plain, step, 20)).astype(int) for step in (1, 2, 2)]
    assert (shown[1] == shown[2]).all()
    assert (shown[0] != shown[1]).any()
    changed = np.abs(shown[0] - np.asarray(plain)).sum(-1) > 0
    assert changed.any()
    assert not changed[:-20].any()
    assert not changed[:, 48:].any()
