"""Exact regions in odd graphs: windows, tiles, several nodes and prompts, and what a step costs."""

import pytest
import torch
from adapters import make_setup
from controls import CLOSE, apply, prompts, region, sample, sample_by_frame, stock
from images import left, picture, stripes
from kinds import make_kind, windowed
from small_controls import causal_wan, unet
from small_models import build_model, conditioning

# An adapter, maps in a UNet, tokens.
KINDS = ("adapter sd15", "sd15", "flux")


@pytest.fixture
def setup(comfy):
    return make_setup(comfy, "sd15")


@pytest.fixture
def runs(setup):
    """How many prompts each run of the model is asked for, in their order."""
    from comfy.patcher_extension import WrappersMP

    found = []

    def count(executor, x, *args, **kwargs):
        found.append(len(x))
        return executor(x, *args, **kwargs)

    setup.model = setup.model.clone()
    setup.model.add_wrapper(WrappersMP.APPLY_MODEL, count)
    return found


def right():
    return 1 - left()


@pytest.mark.parametrize("kind", KINDS)
def test_windowed_is_as_unwindowed(comfy, kind):
    kind = make_kind(comfy, kind)
    conds = kind.local(stripes(6), picture(batch=6), outside="exact")
    run = {"batch": 6, "steps": 5}
    whole = kind.sample(conds, **run)
    found = kind.sample(conds, model=windowed(kind.setup.model, 4), **run)
    torch.testing.assert_close(found, whole, **CLOSE)


def test_a_step_costs_one_more_run_where_control_acts(setup, runs):
    regions = region(setup, left(), start_percent=0.5)
    sample(setup, *apply(setup, regions, outside="exact"), steps=2)
    assert runs == [2, 2, 2]


def test_a_prompt_on_which_nothing_acts_is_run_once(setup, runs):
    regions = region(setup, left(), acts_on="positive")
    sample(setup, *apply(setup, regions, outside="exact"), steps=1)
    assert runs == [2, 1]


def test_without_guidance_the_negative_is_not_run(setup, runs):
    sample(setup, *apply(setup, region(setup, left()), outside="exact"), steps=1, cfg=1.0)
    assert runs == [1, 1]


def test_a_region_that_acts_on_one_prompt_leaves_the_others_prediction(setup):
    regions = region(setup, left(), acts_on="negative")
    found = sample(setup, *apply(setup, regions, outside="exact"), steps=1, cfg=1.0)
    assert torch.equal(found, sample(setup, *prompts(setup), steps=1, cfg=1.0))


def test_regions_that_share_a_node_are_each_whole_in_their_own_place(setup):
    images = picture(seed=2), picture(seed=7)
    regions = region(setup, right(), images[1], regions=region(setup, left(), images[0]))
    found = sample(setup, *apply(setup, regions, outside="exact"), steps=1)
    gated = sample(setup, *apply(setup, regions), steps=1)
    torch.testing.assert_close(found, gated, **CLOSE)  # together they cover all: nothing is blended


@pytest.mark.parametrize("overlap", ["normalise", "priority"])
def test_regions_that_overlap_share_their_place_by_the_rule(setup, overlap):
    images = picture(seed=2), picture(seed=7)
    wide = torch.ones_like(left())
    wide[..., 96:] = 0  # over the left half and a quarter more
    twice = region(setup, wide, images[1], regions=region(setup, left(), images[0]))
    found = sample(setup, *apply(setup, twice, overlap=overlap, outside="exact"), steps=1)
    if overlap == "priority":
        apart = region(setup, wide - left(), images[1], regions=region(setup, left(), images[0]))
    else:
        gray = left() / 2
        apart = region(setup, wide - gray, images[1], regions=region(setup, gray, images[0]))
    expected = sample(setup, *apply(setup, apart, outside="exact"), steps=1)
    torch.testing.assert_close(found, expected, **CLOSE)
    free = sample(setup, *prompts(setup), steps=1)
    assert torch.equal(found[..., 12:], free[..., 12:])
    added = sample(setup, *apply(setup, twice, outside="exact"), steps=1)
    assert not torch.allclose(found[..., :8], added[..., :8])


def test_nodes_in_a_row_blend_one_after_another(setup):
    images = picture(seed=2), picture(seed=7)
    conds = apply(setup, region(setup, left(), images[0]), outside="exact")
    conds = apply(setup, region(setup, right(), images[1]), *conds, outside="exact")
    found = sample(setup, *conds, steps=1)
    halves = [sample(setup, *stock(setup, image), steps=1) for image in images]
    torch.testing.assert_close(found[..., :8], halves[0][..., :8], **CLOSE)
    torch.testing.assert_close(found[..., 8:], halves[1][..., 8:], **CLOSE)


def test_a_gated_node_in_the_same_row_acts_in_both_predictions(setup):
    other = region(setup, right(), picture(seed=7), acts_on="positive")
    alone = sample(setup, *apply(setup, other), steps=1)
    for first, second in (("gated", "exact"), ("exact", "gated")):
        chain = {first: None, second: None}
        conds = (None, None)
        for outside in chain:
            own = other if outside == "gated" else region(setup, left())
            conds = apply(setup, own, *conds, outside=outside)
        found = sample(setup, *conds, steps=1)
        assert torch.equal(found[..., 8:], alone[..., 8:])
        assert not torch.allclose(found[..., :8], alone[..., :8])


def test_a_condition_with_an_area_is_blended_where_it_lies(setup):
    from nodes import ConditioningSetArea

    (positive,) = ConditioningSetArea().append(conditioning(0), 64, 128, 0, 0, 1.0)
    pair = [*positive, *conditioning(2)], conditioning(1)
    free = sample(setup, *pair, steps=1)
    found = sample(setup, *apply(setup, region(setup, left()), *pair, outside="exact"), steps=1)
    assert torch.equal(found[..., 8:], free[..., 8:])
    assert not torch.allclose(found[..., :8], free[..., :8])


def test_a_region_that_acts_later_has_no_part_in_the_blend_before(setup):
    early = region(setup, left(), end_percent=0.4)
    both = region(setup, right(), picture(seed=7), regions=early, start_percent=0.6)
    found = sample(setup, *apply(setup, both, outside="exact"), steps=1)
    free = sample(setup, *prompts(setup), steps=1)
    assert torch.equal(found[..., 8:], free[..., 8:])
    assert not torch.allclose(found[..., :8], free[..., :8])


def test_predictions_have_ids_of_their_own_which_stay(setup):
    """EasyCache and the like keep what a prompt led to in the step before by its id."""
    from comfy.patcher_extension import WrappersMP

    found = []

    def note(executor, *args, **kwargs):
        found.extend(frozenset(a["uuids"]) for a in args if isinstance(a, dict) and "uuids" in a)
        return executor(*args, **kwargs)

    model = setup.model.clone()
    model.add_wrapper(WrappersMP.APPLY_MODEL, note)
    sample(setup, *apply(setup, region(setup, left()), outside="exact"), steps=2, model=model)
    without, within, *later = found
    assert not without & within
    assert later == [without, within]


def test_nothing_to_apply_leaves_the_prompts(setup):
    node = setup.comfy.nodes["LocalControl_Apply"]
    pair = prompts(setup)
    assert [*node.execute(*pair, None, "add").result] == [*pair]


def test_regions_of_conditions_in_one_prompt_all_act(setup):
    both = region(
        setup,
        right(),
        acts_on="negative",
        regions=region(setup, left(), acts_on="positive"),
    )
    first, second = apply(setup, both, outside="exact")
    found = sample(setup, first + second, conditioning(1), steps=1)
    free = sample(setup, conditioning(0) + conditioning(1), conditioning(1), steps=1)
    assert not torch.allclose(found[..., :8], free[..., :8])
    assert not torch.allclose(found[..., 8:], free[..., 8:])


def test_a_control_that_does_not_fit_is_named_at_the_first_step_though_it_acts_later(comfy):
    kind = make_kind(comfy, "sdxl")
    kind.setup.control = unet(build_model("sd15"), context_dim=48).control
    runs = []

    def count(executor, *args, **kwargs):
        runs.append(1)
        return executor(*args, **kwargs)

    from comfy.patcher_extension import WrappersMP

    kind.setup.model.add_wrapper(WrappersMP.APPLY_MODEL, count)
    with pytest.raises(ValueError, match="of region 1 does not fit the model"):
        kind.sample(kind.local(left(), start_percent=0.6, outside="exact"), steps=6)
    assert len(runs) == 1


def test_the_autoregressive_sampler_is_refused(comfy):
    from comfy.controlnet import ControlBase

    class Silent(ControlBase):
        def copy(self):
            return Silent()

        def get_control(self, *call):
            return None

    setup = causal_wan()
    setup.comfy, setup.control = comfy, Silent()
    free = sample_by_frame(setup, *prompts(setup))
    assert torch.equal(sample_by_frame(setup, *apply(setup, region(setup, left()))), free)
    exact = apply(setup, region(setup, left()), outside="exact")
    with pytest.raises(ValueError, match=r"SamplerARVideo.* for Region 1 with outside: exact"):
        sample_by_frame(setup, *exact)
