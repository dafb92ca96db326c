import pytest
import torch

from local_control.gating import gate_features, gate_tokens


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


def test_tokens_of_the_left_half_are_kept():
    tokens = torch.ones(2, 12, 5)
    mask = torch.zeros(1, 1, 48, 64)
    mask[..., :32] = 1
    gated = gate_tokens(tokens, mask, (3, 4)).reshape(2, 3, 4, 5)
    assert gated[:, :, :2].all()
    assert not gated[:, :, 2:].any()


def test_a_grid_that_is_not_the_tokens_is_refused():
    with pytest.raises(ValueError, match="12 image tokens"):
        gate_tokens(torch.ones(1, 12, 5), torch.ones(1, 1, 8, 8), (3, 5))
