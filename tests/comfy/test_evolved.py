"""Windows as AnimateDiff-Evolved samples them, and controls that cut their pictures by these."""

import pytest
import torch
from controls import CLOSE, local, prompts, sample
from evolved import Evolved, windowed_control
from images import left, picture, stripes
from kinds import make_kind, windowed
from small_controls import BUILDERS, qwen
from small_models import conditioning

# ComfyUI 0.3.75 compares six latents with the noise levels of as many steps and one.
RUN = {"batch": 6, "steps": 5}
STRENGTHS = (1.0, 0.0, 0.5, 0.0, 1.0, 0.2)


@pytest.mark.parametrize("outside", ["gated", "exact"])
@pytest.mark.parametrize("kind", ["adapter sd15", "sd15", "sdxl"])
def test_regions_are_as_unwindowed(comfy, kind, outside):
    kind = make_kind(comfy, kind)
    conds = kind.local(stripes(6), picture(batch=6), outside=outside)
    found = kind.sample(conds, model=Evolved.sampled(kind.setup.model), **RUN)
    torch.testing.assert_close(found, kind.sample(conds, **RUN), **CLOSE)


@pytest.mark.parametrize("is_first", [True, False])
def test_gated_predictions_are_as_unwindowed_before_the_windows_and_after(comfy, is_first):
    kind = make_kind(comfy, "adapter sd15")
    (positive, negative), other = kind.prompts(), conditioning(7)

    def gate(model):
        node = comfy.nodes["LocalControl_GatePredictions"]
        gated = node.execute(model, other, negative, stripes(6), positive_without=positive)
        return gated.result[0], gated.result[1:]

    model, conds = gate(kind.setup.model)
    whole = kind.sample(conds, model=model, **RUN)
    if is_first:
        model, conds = gate(Evolved.sampled(kind.setup.model))
    else:
        model = Evolved.sampled(model)
    torch.testing.assert_close(kind.sample(conds, model=model, **RUN), whole, **CLOSE)


def test_gated_patches_are_as_unwindowed(comfy):
    setup = qwen()

    def patched(model):
        model = model.clone()
        model.set_model_double_block_patch(lambda args: {**args, "img": args["img"] + 1})
        return comfy.nodes["LocalControl_GatePatches"].execute(model, stripes(6)).result[0]

    run = {"batch": 6, "steps": 2}
    whole = sample(setup, *prompts(setup), model=patched(setup.model), **run)
    found = sample(setup, *prompts(setup), model=patched(Evolved.sampled(setup.model)), **run)
    torch.testing.assert_close(found, whole, **CLOSE)
    assert not torch.allclose(whole, sample(setup, *prompts(setup), **run))


@pytest.mark.parametrize("indices", [[3, 1], [0, 1, 2]])
def test_tokens_and_maps_have_the_masks_of_their_window_alone(comfy, indices):
    """A window of another number of latents is one that is over."""
    mask = comfy.module("local_control.region_mask").RegionMask(stripes(6)[:, None])
    view = comfy.module("nodes.sampler.control.view")
    options = {"cond_or_uncond": [0, 1]}
    told = {"sub_idxs": indices, "full_length": 6, "context_length": len(indices)}

    def note(model, conds, x, timestep, options):
        return options["transformer_options"]

    options = view.note_areas(
        note, None, [], torch.zeros(2, 4, 16, 16), None, {"transformer_options": options}
    )
    options["ad_params"] = told
    tokens = comfy.module("nodes.sampler.control.token_gate").TokenGate(mask)
    maps = comfy.module("nodes.sampler.control.unet_patch").MapGate(mask)
    seen = view.seen_shape(options)

    def let_in():
        zeros = torch.zeros(4, 64, 3)
        yield tokens.let_in(zeros, zeros + 1, seen, options)[..., 0].reshape(4, 8, 8)
        zeros = torch.zeros(4, 3, 8, 8)
        yield maps.let_in(zeros, zeros + 1, options)[:, 0]

    if len(indices) != 2:
        with pytest.raises(ValueError, match="6 masks for 2 latents"):
            list(let_in())
        return
    expected = torch.nn.functional.avg_pool2d(stripes(6)[indices], 16).repeat(2, 1, 1)
    for found in let_in():
        assert torch.equal(found, expected)


def build(comfy, strengths=()):
    setup = BUILDERS["sd15"]()
    setup.comfy = comfy
    setup.control = windowed_control(setup.control, strengths)
    return setup


@pytest.mark.parametrize("pictures", [1, 6])
@pytest.mark.parametrize("windows", ["comfyui", "evolved"])
def test_controls_that_cut_by_windows_have_the_pictures_and_numbers_of_their_latents(
    comfy, windows, pictures
):
    setup = build(comfy, STRENGTHS)
    conds = local(setup, left(), picture(batch=pictures))
    whole = sample(setup, *conds, **RUN)
    is_evolved = windows == "evolved"
    model = Evolved.sampled(setup.model) if is_evolved else windowed(setup.model, 4)
    found = sample(setup, *conds, model=model, **RUN)
    torch.testing.assert_close(found, whole, **CLOSE)
    free = sample(setup, *prompts(setup), **RUN)
    torch.testing.assert_close(found[1], free[1], **CLOSE)
    assert not torch.allclose(found[4], free[4])
    # Nothing of a window is left for what is sampled whole.
    assert torch.equal(sample(setup, *conds, **RUN), whole)


def test_a_control_that_is_told_of_windows_is_asked_by_one_copy_of_it(comfy):
    """What follows the steps by itself must see all of them."""
    setup = build(comfy)
    asked, own = set(), type(setup.control).get_control

    def ask(self, *arguments):
        asked.add(self)
        return own(self, *arguments)

    type(setup.control).get_control = ask
    conds = local(setup, torch.ones(1, 128, 128), picture(batch=6))
    sample(setup, *conds, model=Evolved.sampled(setup.model), **RUN)
    assert len(asked) == 1


def test_inpaint_controls_have_the_masks_of_their_window(comfy):
    from small_controls import flux

    setup = flux(inpaint=True)
    setup.comfy = comfy
    conds = local(setup, stripes(6), picture(batch=6))
    whole = sample(setup, *conds, **RUN)
    found = sample(setup, *conds, model=windowed(setup.model, 4), **RUN)
    torch.testing.assert_close(found, whole, **CLOSE)
