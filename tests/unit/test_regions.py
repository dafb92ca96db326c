import pytest
import torch

from local_control.overlap import Overlap, align_masks, resolve_overlap


def overlapping():
    masks = torch.zeros(2, 1, 1, 1, 3)
    masks[0, ..., :2] = 1
    masks[1, ..., 1:] = 1
    return masks


def test_add_lets_both_act():
    assert torch.equal(resolve_overlap(overlapping(), Overlap.ADD), overlapping())


def test_normalise_shares_and_leaves_what_does_not_overlap():
    resolved = resolve_overlap(overlapping(), Overlap.NORMALISE)
    assert resolved[0].flatten().tolist() == [1, 0.5, 0]
    assert resolved[1].flatten().tolist() == [0, 0.5, 1]


def test_normalise_does_not_raise_soft_masks():
    soft = torch.full((2, 1, 1, 2, 2), 0.3)
    assert torch.equal(resolve_overlap(soft, Overlap.NORMALISE), soft)


def test_priority_lets_the_first_hide_the_second():
    resolved = resolve_overlap(overlapping(), Overlap.PRIORITY)
    assert resolved[0].flatten().tolist() == [1, 1, 0]
    assert resolved[1].flatten().tolist() == [0, 0, 1]


def test_masks_of_one_shape_and_any_size_or_batch_are_aligned(generator):
    small, large = torch.ones(1, 1, 32, 48), torch.rand(2, 1, 64, 96, generator=generator)
    aligned = align_masks([small, large])
    assert aligned.shape == (2, 2, 1, 64, 96)
    assert torch.equal(aligned[1], large)
    # Frames of one picture scaled to whole pixels.
    assert align_masks([torch.ones(1, 1, 333, 500), torch.ones(1, 1, 667, 1000)]).all()


def test_other_shapes_and_batches_are_named():
    with pytest.raises(ValueError, match="region 2 is 64 x 64, but the largest sides of all are"):
        align_masks([torch.ones(1, 1, 64, 96), torch.ones(1, 1, 64, 64)])
    with pytest.raises(ValueError, match="Region 1 has 2 masks and another one 3"):
        align_masks([torch.ones(2, 1, 8, 8), torch.ones(3, 1, 8, 8)])
