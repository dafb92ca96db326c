"""Regions on models that ComfyUI's own nodes have changed, and on compiled ones."""

import controls
import pytest
import torch
from adapters import core_control, make_setup
from controls import CLOSE, apply, local, region, stock
from images import left, picture
from small_controls import BUILDERS
from stock_nodes import STOCK, WITHIN_A_RUN, seeded, stock_node

STEPS = 6  # of fewer, EasyCache leaves out none


@pytest.fixture
def setup(comfy):
    return make_setup(comfy, "sd15")


@seeded
def sample(setup, model, conds, steps=STEPS):
    return controls.sample(setup, *conds, model=model, steps=steps)


@pytest.mark.parametrize("name", STOCK)
def test_a_full_mask_is_bit_equal_to_the_plain_control(setup, name):
    model = stock_node(name)(setup.model)
    full = sample(setup, model, local(setup, torch.ones_like(left())))
    assert torch.equal(full, sample(setup, model, stock(setup, control=core_control(setup))))
    half = sample(setup, model, local(setup, left()))
    free = sample(setup, model, controls.prompts(setup))
    assert not torch.allclose(half, full)
    assert not torch.allclose(half, free)
    assert not torch.allclose(half, sample(setup, setup.model, local(setup, left())))


@pytest.mark.parametrize("name", STOCK)
def test_no_strength_is_bit_equal_to_no_control(setup, name):
    model = stock_node(name)(setup.model)
    none = sample(setup, model, local(setup, left(), strength=0.0))
    assert torch.equal(none, sample(setup, model, controls.prompts(setup)))


@pytest.mark.parametrize("name", WITHIN_A_RUN)
def test_outside_exact_regions_a_step_is_bit_equal_to_no_control(setup, name):
    model = stock_node(name)(setup.model)
    found = sample(setup, model, local(setup, left(), outside="exact"), steps=1)
    free = sample(setup, model, controls.prompts(setup), steps=1)
    assert torch.equal(found[..., 8:], free[..., 8:])
    assert not torch.allclose(found[..., :8], free[..., :8])


@pytest.mark.parametrize("outside", ["gated", "exact"])
def test_perpendicular_negatives_are_controlled_as_by_the_plain_control(setup, outside):
    """Three prompts, of which ours controls two, as the stock control does."""
    from comfy_extras.nodes_perpneg import PerpNeg

    (empty, _), model = controls.prompts(setup), setup.model
    model = PerpNeg.execute(model, empty, 1.0)[0]
    full = local(setup, torch.ones_like(left()), outside=outside)
    found, plain = sample(setup, model, full), stock(setup, control=core_control(setup))
    torch.testing.assert_close(found, sample(setup, model, plain), **CLOSE)


def test_a_compiled_model_gives_what_it_gave_before(setup):
    """By ComfyUI's node, with torch's own backend: dynamo's graphs without a compiler of C++."""
    from comfy_extras.nodes_torch_compile import TorchCompileModel

    compiled = TorchCompileModel.execute(setup.model, "eager")[0]
    adapter = region(setup, left(), picture(seed=4))
    node = setup.comfy.nodes["LocalControl_Region"]
    net = BUILDERS["sd15"]().control
    both = node.execute(net, picture(seed=5), 1 - left(), regions=adapter).result[0]
    for outside in ("gated", "exact"):
        conds = apply(setup, both, outside=outside)
        expected = sample(setup, setup.model, conds, steps=2)
        found = sample(setup, compiled, conds, steps=2)
        torch.testing.assert_close(found, expected, **CLOSE)
    assert not torch.allclose(found, sample(setup, setup.model, controls.prompts(setup), steps=2))
