"""Adapter regions under masks of conditions and odd prompts; fits, overlaps, what is named."""

import pytest
import torch
from adapters import make_setup
from controls import CLOSE, apply, local, prompts, region, sample, stock
from images import SIZE, left, picture, top, white
from kinds import windowed


@pytest.fixture(params=["sd15", "sdxl"])
def setup(comfy, request):
    return make_setup(comfy, request.param)


def with_options(conds, **options):
    return [[embedding, {**old, **options}] for embedding, old in conds]


def test_context_windows_of_rows_that_go_round_the_edge_are_refused(setup):
    model = windowed(setup.model, 12, dim=2, overlap=4, schedule="looped_uniform")
    with pytest.raises(ValueError, match=r"rows or columns \(dim 2\) that are not side by side"):
        sample(setup, *local(setup, left()), model=model, steps=5)


def test_a_condition_mask_that_is_white_changes_nothing(setup):
    positive, negative = local(setup, left())
    white = {"mask": torch.ones(1, 128, 128), "set_area_to_bounds": False, "mask_strength": 1.0}
    masked = sample(setup, with_options(positive, **white), negative)
    torch.testing.assert_close(masked, sample(setup, positive, negative), **CLOSE)


@pytest.mark.parametrize("who", ["positive", "negative"])
def test_one_prompt_alone_is_controlled_where_only_the_other_has_an_area(setup, who):
    right = {"area": (SIZE[0], SIZE[1] // 2, 0, SIZE[1] // 2)}
    positive, negative = local(setup, white(), acts_on=who)
    narrow = with_options(positive, **right)
    found = sample(setup, narrow, negative)
    expected = sample(setup, narrow, [*negative, *with_options(negative, **right)])
    torch.testing.assert_close(found, expected, **CLOSE)
    assert not torch.allclose(
        found, sample(setup, with_options(prompts(setup)[0], **right), prompts(setup)[1])
    )
    wide = with_options(negative, **right)
    found = sample(setup, positive, wide)
    expected = sample(setup, [*positive, *with_options(positive, **right)], wide)
    torch.testing.assert_close(found, expected, **CLOSE)


def test_regions_differ_in_time_and_prompt(setup):
    early = region(setup, left(), end_percent=0.4, strength_curve="1, 0.2")
    both = region(setup, 1 - left(), picture(seed=7), regions=early, acts_on="positive")
    assert sample(setup, *apply(setup, both)).isfinite().all()


def test_a_condition_of_any_size_is_fitted_into_the_mask(setup):
    mask = torch.zeros(1, 128, 128)
    mask[:, 32:96, 16:80] = 1
    small = picture((3, 5))
    placed = region(setup, mask, small, fit="stretch")[0].condition
    assert placed.shape == (1, 3, 128, 128)
    assert (placed.amax(1) * (1 - mask)).max() == 0
    fits = [sample(setup, *local(setup, mask, small, fit=f)) for f in ("contain", "stretch")]
    assert not torch.allclose(*fits)
    with pytest.raises(ValueError, match="choose another fit"):
        local(setup, mask, small)


def test_curves_that_are_no_numbers_are_named(setup):
    with pytest.raises(ValueError, match="strength_curve is 'fast'"):
        local(setup, white(), strength_curve="fast")


def test_what_is_no_control_is_named(setup):
    setup.control = object()
    with pytest.raises(ValueError, match="must be one of ComfyUI's controls"):
        local(setup, white())


@pytest.mark.parametrize("overlap", ["normalise", "priority"])
def test_regions_that_share_need_masks_of_one_shape_and_batch(setup, overlap):
    other = picture((8, 16))
    regions = region(setup, torch.ones(1, 64, 128), other, regions=region(setup, left()))
    with pytest.raises(ValueError, match="mask of region 2 is 128 x 64"):
        apply(setup, regions, overlap=overlap)
    masks = [white().expand(count, -1, -1) for count in (2, 3)]
    regions = region(setup, masks[1], regions=region(setup, masks[0]))
    with pytest.raises(ValueError, match="Region 1 has 2 masks and another one 3"):
        apply(setup, regions, overlap=overlap)


@pytest.mark.parametrize("overlap", ["normalise", "priority"])
def test_a_region_wholly_hidden_or_shared_acts_as_its_rule_says(setup, overlap):
    twice = region(setup, white(), picture(seed=7), regions=region(setup, white()))
    found = sample(setup, *apply(setup, twice, overlap=overlap))
    if overlap == "priority":
        expected = sample(setup, *local(setup, white()))
    else:
        halves = region(setup, white(), picture(seed=7), strength=0.5)
        halves = region(setup, white(), regions=halves, strength=0.5)
        expected = sample(setup, *apply(setup, halves))
    torch.testing.assert_close(found, expected, **CLOSE)


@pytest.mark.parametrize("outside", ["gated", "exact"])
def test_a_stock_node_that_gives_its_control_to_both_prompts_gives_ours_to_none(setup, outside):
    from nodes import ControlNetApply

    def with_old(positive, negative):
        given = ControlNetApply().apply_controlnet(positive, setup.control, picture(seed=9), 0.5)
        return given[0], negative

    positive, negative = apply(setup, region(setup, left()), outside=outside)
    given = stock(setup, picture(seed=9), positive, negative, strength=0.5)[0], negative
    torch.testing.assert_close(
        sample(setup, *with_old(positive, negative)), sample(setup, *given), **CLOSE
    )
    one = apply(setup, region(setup, left(), acts_on="positive"), outside=outside)
    with pytest.raises(ValueError, match=r"positive prompt alone; use Apply ControlNet instead"):
        sample(setup, *with_old(*one))


@pytest.mark.parametrize("outside", ["gated", "exact"])
@pytest.mark.parametrize("overlap", ["normalise", "priority"])
def test_regions_share_and_hide_on_each_prompt_for_itself(setup, overlap, outside):
    first = region(setup, white(), acts_on="negative")
    apart = region(setup, white(), picture(seed=7), regions=first, acts_on="positive")
    found = sample(setup, *apply(setup, apart, overlap=overlap, outside=outside))
    expected = sample(setup, *apply(setup, apart, outside=outside))
    torch.testing.assert_close(found, expected, **CLOSE)
    both = region(setup, white(), picture(seed=7), regions=first)
    found = sample(setup, *apply(setup, both, overlap=overlap, outside=outside))
    positive = region(setup, white(), picture(seed=7), acts_on="positive")
    conds = apply(setup, positive, outside=outside)[0], prompts(setup)[1]
    alone = region(setup, white(), acts_on="negative")
    if overlap == "normalise":
        alone = region(setup, white(), acts_on="negative", strength=0.5)
        other = {"regions": alone, "acts_on": "negative", "strength": 0.5}
        alone = region(setup, white(), picture(seed=7), **other)
    conds = conds[0], apply(setup, alone, outside=outside)[1]
    torch.testing.assert_close(found, sample(setup, *conds), **CLOSE)


@pytest.mark.parametrize("span", [(0.8, 0.5), (0.5, 0.5)])
def test_a_range_with_nothing_in_it_is_named(setup, span):
    first = region(setup, left())
    with pytest.raises(ValueError, match=r"start_percent of region 2 is 0\.\d and its end_percent"):
        region(setup, left(), regions=first, start_percent=span[0], end_percent=span[1])


@pytest.mark.parametrize("numbers", ["nan", "1, inf, 1, 1", "-inf", "1, 1, 1, 1e38"])
def test_weights_and_curves_of_no_finite_numbers_are_named(setup, numbers):
    with pytest.raises(ValueError, match="level_weights is"):
        local(setup, white(), level_weights=numbers)
    with pytest.raises(ValueError, match="strength_curve is"):
        local(setup, white(), strength_curve=numbers)


@pytest.mark.parametrize("fit", ["contain", "cover", "stretch"])
def test_a_black_mask_in_a_batch_has_no_place_for_the_condition(setup, fit):
    masks = torch.cat([white(), torch.zeros(1, 128, 128)])
    with pytest.raises(
        ValueError, match=f"region 1 is all black or nearly so, .* {fit} .* choose the fit frame"
    ):
        local(setup, masks, fit=fit)
    assert local(setup, masks)


def with_mask(conds, mask, to_bounds=False):
    options = {"mask": mask, "set_area_to_bounds": to_bounds, "mask_strength": 1.0}
    return [with_options(cond, **options) for cond in conds]


def test_a_condition_mask_of_a_part_is_controlled_as_stock_controls_it(setup):
    ours = sample(setup, *with_mask(local(setup, white()), top()))
    assert torch.equal(ours, sample(setup, *with_mask(stock(setup), top())))
    assert not torch.equal(ours, sample(setup, *with_mask(local(setup, left()), top())))


def test_the_bounds_of_a_condition_mask_are_an_area_that_crops_the_region(setup):
    mask = torch.zeros(1, 128, 128)
    mask[:, 32:96, 48:112] = 1
    bounds = {"area": (8, 8, 4, 6)}
    found = sample(setup, *with_mask(local(setup, left()), mask, to_bounds=True))
    conds = [with_options(cond, **bounds) for cond in local(setup, left())]
    torch.testing.assert_close(found, sample(setup, *with_mask(conds, mask)), **CLOSE)
    free = sample(setup, *with_mask(prompts(setup), mask, to_bounds=True))
    assert not torch.equal(found, free)
