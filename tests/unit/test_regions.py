import torch

from local_control.regions import Overlap, resolve_overlap


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
