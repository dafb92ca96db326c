"""Two GPUs: gated models on them, and what a sampling leaves; regions are in the contract."""

from threading import get_ident

import controls
import pytest
import torch
from controls import CLOSE
from images import left
from kinds import make_kind
from small_controls import qwen
from small_models import build_model
from small_patches import BUILDERS
from two_devices import emulate, on_two, split

# What controls keep of a sampling.
_MADE = ("_features", "_slots", "_inner", "_gates", "_blends")


@pytest.fixture
def devices(comfy, monkeypatch):
    emulate(monkeypatch)


@pytest.mark.parametrize("name", ["adapter sd15", "sd15"])
def test_what_a_sampling_that_fails_has_made_goes_on_both_devices(comfy, devices, name):
    from comfy.patcher_extension import WrappersMP

    kind, held = make_kind(comfy, name), []
    conds = kind.local(left())
    control = conds[0][0][1]["control"]

    def copies():
        return [control, *control.multigpu_clones.values()]

    def kept():
        return [any(bool(v) for k, v in vars(c).items() if k in _MADE) for c in copies()]

    def stop(executor, *args):
        executor(*args)
        held.extend(kept())
        raise RuntimeError("ended")

    model = on_two(kind)
    model.add_wrapper(WrappersMP.CALC_COND_BATCH, stop)
    with pytest.raises(RuntimeError, match="ended"):
        kind.sample(conds, model=model)
    assert held == [True, True]
    assert kept() == [False, False]


def gated_tokens(comfy):
    """A model whose patch after blocks is gated, its prompts, one of the same weights."""
    setup = qwen()
    model = setup.model.clone()
    model.set_model_double_block_patch(lambda args: {**args, "img": args["img"] + 1})
    model = comfy.nodes["LocalControl_GatePatches"].execute(model, left()).result[0]
    return setup, model, controls.prompts(setup), qwen().model


def gated_maps(comfy):
    setup = BUILDERS["SUPIR"]()
    setup.channels = 4
    model = comfy.nodes["LocalControl_GatePatches"].execute(setup.patched, left()).result[0]
    return setup, model, controls.prompts(setup), build_model("sdxl")


def gated_predictions(comfy):
    setup = qwen()
    (positive, negative), other = controls.prompts(setup), setup.text(seed=7)
    node = comfy.nodes["LocalControl_GatePredictions"]
    found = node.execute(setup.model, other, negative, left(), positive_without=positive).result
    return setup, found[0], found[1:], qwen().model


@pytest.mark.parametrize("make", [gated_tokens, gated_maps, gated_predictions])
def test_a_gate_of_a_model_gives_the_picture_of_one(comfy, devices, make):
    from comfy.patcher_extension import WrappersMP

    torch.manual_seed(0)
    setup, model, conds, other = make(comfy)
    one, threads = controls.sample(setup, *conds, model=model), set()

    def note(executor, *args, **kwargs):
        threads.add(get_ident())
        return executor(*args, **kwargs)

    both = split(model, other)
    both.add_wrapper(WrappersMP.APPLY_MODEL, note)
    torch.testing.assert_close(controls.sample(setup, *conds, model=both), one, **CLOSE)
    assert len(threads) == 2
    assert not torch.allclose(one, controls.sample(setup, *controls.prompts(setup)))


def test_gates_are_kept_for_each_device(comfy):
    mask = comfy.module("local_control.region_mask").RegionMask(left()[:, None])
    view = comfy.module("nodes.sampler.control.view")
    tokens = comfy.module("nodes.sampler.control.token_gate").TokenGate(mask)
    maps = comfy.module("nodes.sampler.control.unet_patch").MapGate(mask)
    x, kept = torch.zeros(1, 4, 16, 16), []
    options = view.note_areas(
        lambda model, conds, x, timestep, options: options, None, [], x, None, {}
    )["transformer_options"]
    for device in ("cpu", "meta", "cpu", "meta"):
        kept.append(tokens.factor(x.to(device), x.shape, options))
        assert kept[-1].device.type == device
        assert maps.let_in(x.to(device), x.to(device) + 1, options).device.type == device
    assert kept[0] is kept[2]
    assert kept[1] is kept[3]
