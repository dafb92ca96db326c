import numpy as np
import pytest

from training.data.random_masks import DEFAULT_SHARES, SHAPES, random_mask

SIZE = (96, 128)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("kind", SHAPES)
def test_every_kind_is_a_mask_of_the_size_that_was_asked_for(kind):
    objects = np.zeros((2, *SIZE), np.float32)
    objects[0, 10:40, 20:60] = 1
    objects[1, 50:80, 70:100] = 1
    for seed in range(30):
        mask = random_mask(SIZE, rng(seed), objects, {kind: 1})
        assert mask.shape == SIZE
        assert mask.dtype == np.float32
        assert mask.min() >= 0
        assert mask.max() <= 1
        assert mask.any() == (kind != "empty")


def test_the_same_generator_gives_the_same_mask():
    for seed in range(20):
        assert np.array_equal(random_mask(SIZE, rng(seed)), random_mask(SIZE, rng(seed)))


def test_all_of_the_frame_is_reached_corners_too():
    seen = np.mean([random_mask(SIZE, rng(seed)) for seed in range(400)], axis=0)
    assert seen.min() > 0.1
    assert seen.max() < 0.9


def test_an_object_mask_covers_its_object():
    objects = np.zeros((1, *SIZE), np.float32)
    objects[0, 10:40, 20:60] = 1
    for kind in ("object", "object_box"):
        mask = random_mask(SIZE, rng(), objects, {kind: 1})
        assert mask[10:40, 20:60].all()
        assert mask.mean() < 0.5


def test_objects_that_a_crop_has_cut_away_are_not_chosen():
    objects = np.zeros((2, *SIZE), np.float32)
    objects[1, 50:80, 70:100] = 1
    for kind in ("object", "object_box", "exact"):
        for seed in range(20):
            assert random_mask(SIZE, rng(seed), objects, {kind: 1})[50:80, 70:100].all()
            assert random_mask(SIZE, rng(seed), objects[:1], {kind: 1}).any()


def test_shares_are_kept():
    counts = sum(random_mask(SIZE, rng(seed)).all() for seed in range(1000))
    assert counts / 1000 == pytest.approx(DEFAULT_SHARES["full"], abs=0.03)
