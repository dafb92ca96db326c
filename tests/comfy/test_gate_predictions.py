"""Gate Predictions: whatever controls a model acts inside the mask alone."""

import pytest
import torch
from adapters import make_setup
from controls import CLOSE, prompts, region, sample, sample_by_frame
from images import left, picture, top
from kinds import windowed
from small_controls import causal_wan, concatenating_flux, concatenating_wan, flux
from small_models import conditioning

_SPLIT = "split_conds_to_windows"


@pytest.fixture
def setup(comfy):
    return make_setup(comfy, "sd15")


@pytest.fixture
def gate(comfy):
    def run(model, positive, negative, mask, **without):
        node = comfy.nodes["LocalControl_GatePredictions"]
        return node.execute(model, positive, negative, mask, **without).result

    return run


class Louder:
    """A patch of attention's output that no mask gates, an object as other packs have them."""

    def __call__(self, value, options):
        return value * 3


def patched(model, patch=None):
    model = model.clone()
    model.set_model_attn2_output_patch(patch or Louder())
    return model


def sampled(setup, gated, **options):
    model, positive, negative = gated
    return sample(setup, positive, negative, model=model, **options)


def counted(model):
    """A clone of a model, and the numbers of latents in each of its runs."""
    from comfy.patcher_extension import WrappersMP

    runs = []

    def count(executor, x, *args, **kwargs):
        runs.append(len(x))
        return executor(x, *args, **kwargs)

    model = model.clone()
    model.add_wrapper(WrappersMP.APPLY_MODEL, count)
    return model, runs


def check_halves(found, within, without):
    torch.testing.assert_close(found[..., :8], within[..., :8], **CLOSE)
    assert torch.equal(found[..., 8:], without[..., 8:])
    assert not torch.allclose(within, without)


def test_a_prompt_acts_inside_and_another_outside(setup, gate):
    (positive, negative), other = prompts(setup), conditioning(7)
    gated = gate(setup.model, other, negative, left(), positive_without=positive)
    found = sampled(setup, gated, steps=1)
    within = sample(setup, other, negative, steps=1)
    check_halves(found, within, sample(setup, positive, negative, steps=1))


def test_a_patch_of_the_model_acts_inside_alone(setup, gate):
    louder = patched(setup.model)
    gated = gate(louder, *prompts(setup), left(), model_without=setup.model)
    found = sampled(setup, gated, steps=1)
    within = sample(setup, *prompts(setup), model=louder, steps=1)
    check_halves(found, within, sample(setup, *prompts(setup), steps=1))


def test_a_wrapper_of_the_model_acts_inside_alone(setup, gate):
    from comfy.patcher_extension import WrappersMP

    wrapped = setup.model.clone()
    double = lambda executor, *args, **kwargs: 2 * executor(*args, **kwargs)  # noqa: E731
    wrapped.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "double", double)
    gated = gate(wrapped, *prompts(setup), left(), model_without=setup.model)
    found = sampled(setup, gated, steps=1)
    within = sample(setup, *prompts(setup), model=wrapped, steps=1)
    check_halves(found, within, sample(setup, *prompts(setup), steps=1))


def test_what_nodes_behind_add_to_the_model_acts_in_both(setup, gate):
    model, *conds = gate(patched(setup.model), *prompts(setup), left(), model_without=setup.model)
    quieter = lambda value, options: value * 0.5  # noqa: E731
    found = sample(setup, *conds, model=patched(model, quieter).clone(), steps=1)
    both = patched(patched(setup.model), quieter)
    within = sample(setup, *prompts(setup), model=both, steps=1)
    without = sample(setup, *prompts(setup), model=patched(setup.model, quieter), steps=1)
    check_halves(found, within, without)


def test_a_black_mask_of_a_latent_is_bit_equal_to_no_control(setup, gate):
    masks = torch.cat([torch.zeros_like(left()), torch.ones_like(left())])
    gated = gate(patched(setup.model), *prompts(setup), masks, model_without=setup.model)
    found = sampled(setup, gated, batch=2)
    assert torch.equal(found[0], sample(setup, *prompts(setup), batch=2)[0])
    within = sample(setup, *prompts(setup), model=patched(setup.model), batch=2)
    torch.testing.assert_close(found[1], within[1], **CLOSE)


def test_gates_in_a_row_have_a_place_each(setup, gate):
    right, (positive, negative) = 1 - left(), prompts(setup)
    first = gate(setup.model, conditioning(7), negative, left(), positive_without=positive)
    model, positive_1, negative_1 = first
    louder = patched(model)
    second = gate(louder, positive_1, negative_1, right, model_without=model)
    found = sampled(setup, second, steps=1)
    prompt = sample(setup, conditioning(7), negative, steps=1)
    patch = sample(setup, positive, negative, model=patched(setup.model), steps=1)
    torch.testing.assert_close(found[..., :8], prompt[..., :8], **CLOSE)
    torch.testing.assert_close(found[..., 8:], patch[..., 8:], **CLOSE)


def test_it_goes_with_regions(setup, gate):
    apply = setup.comfy.nodes["LocalControl_Apply"]
    conds = apply.execute(*prompts(setup), region(setup, left(), picture()), "add").result
    gated = gate(patched(setup.model), *conds, 1 - left(), model_without=setup.model)
    found = sampled(setup, gated, steps=1)
    outside = sample(setup, *conds, steps=1)
    assert torch.equal(found[..., :8], outside[..., :8])
    inside = sample(setup, *conds, model=patched(setup.model), steps=1)
    torch.testing.assert_close(found[..., 8:], inside[..., 8:], **CLOSE)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_masks_in_half_and_double_precision_give_what_fp32_gives(setup, gate, dtype):
    positive, negative = prompts(setup)
    mask = (0.3 * left() + 0.6 * top()).to(dtype)
    half, full = (
        sampled(
            setup, gate(setup.model, conditioning(7), negative, white, positive_without=positive)
        )
        for white in (mask, mask.float())
    )
    assert torch.equal(half, full)
    assert not torch.allclose(half, sample(setup, positive, negative))


def test_only_prompts_that_differ_are_run_twice(setup, gate):
    positive, negative = prompts(setup)
    model, runs = counted(setup.model)
    gated = gate(model, conditioning(7), negative, left(), positive_without=positive)
    sampled(setup, gated, steps=1)
    assert runs == [2, 1]
    model, runs = counted(setup.model)
    sampled(setup, gate(patched(model), *prompts(setup), left(), model_without=model), steps=1)
    assert runs == [2, 2]


def test_reference_latents_are_seen_inside_alone(comfy, gate):
    setup = flux()
    setup.comfy = comfy
    model = setup.model
    text, negative = setup.text(seed=0), setup.text(seed=1)
    reference = torch.randn(1, 16, 16, 16, generator=torch.Generator().manual_seed(9))
    referring = [[e, {**values, "reference_latents": [reference]}] for e, values in text]
    gated = gate(model, referring, negative, left(), positive_without=text)

    def run(model, *conds):
        return sample(setup, *conds, model=model, steps=1)

    check_halves(run(*gated), run(model, referring, negative), run(model, text, negative))


@pytest.mark.parametrize("model", ["flux", "wan"])
def test_latents_that_are_concatenated_are_seen_inside_alone(comfy, gate, model):
    """As Flux Canny and Wan Fun have them."""
    import controls

    setup = concatenating_flux() if model == "flux" else concatenating_wan()
    text, negative = setup.text(seed=0), setup.text(seed=1)
    shape = controls.shape(setup, controls.SIZE, 1)
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(9))
    shown = [[e, {**values, "concat_latent_image": drawn}] for e, values in text]
    gated = gate(setup.model, shown, negative, left(), positive_without=text)

    def run(model, *conds):
        return controls.sample(setup, *conds, model=model, steps=1)

    check_halves(run(*gated), run(setup.model, shown, negative), run(setup.model, text, negative))


def test_models_of_other_weights_are_refused(setup, gate):
    other = make_setup(setup.comfy, "sd15").model
    with pytest.raises(ValueError, match="different checkpoints"):
        gate(setup.model, *prompts(setup), left(), model_without=other)
    tuned = setup.model.clone()
    key = next(iter(tuned.model_state_dict()))
    tuned.add_patches({key: (torch.zeros(1),)})
    with pytest.raises(ValueError, match="different weights"):
        gate(tuned, *prompts(setup), left(), model_without=setup.model)


def test_nothing_to_blend_with_and_black_masks_are_refused(setup, gate):
    with pytest.raises(ValueError, match="nothing without control to blend with"):
        gate(setup.model, *prompts(setup), left())
    with pytest.raises(ValueError, match="all black"):
        gate(setup.model, *prompts(setup), 0 * left(), model_without=setup.model)


def test_masks_for_another_number_of_latents_are_named(setup, gate):
    gated = gate(
        patched(setup.model), *prompts(setup), left().repeat(3, 1, 1), model_without=setup.model
    )
    with pytest.raises(ValueError, match="3 masks for 2 latents"):
        sampled(setup, gated, batch=2)


def test_models_in_a_row_are_each_gated_by_their_own_mask(setup, gate):
    top = torch.zeros_like(left())
    top[:, :64] = 1
    quieter = lambda value, options: value * 0.2  # noqa: E731
    for first_patch in (Louder(), lambda value, options: value * 3):
        first = patched(setup.model, first_patch)
        model, *conds = gate(first, *prompts(setup), left(), model_without=setup.model)
        second = gate(patched(model, quieter), *conds, top, model_without=model)
        found = sampled(setup, second, steps=1)
        outside = sample(setup, *prompts(setup), steps=1)
        assert torch.equal(found[..., 8:, 8:], outside[..., 8:, 8:])
        within = sample(setup, *prompts(setup), model=first, steps=1)
        torch.testing.assert_close(found[..., 8:, :8], within[..., 8:, :8], **CLOSE)


def test_prompts_that_differ_and_have_areas_are_refused(setup, gate):
    from nodes import ConditioningSetArea

    positive, negative = prompts(setup)
    (corner,) = ConditioningSetArea().append(conditioning(5), 64, 64, 64, 64, 1.0)
    gated = gate(
        setup.model, conditioning(7) + corner, negative, left(), positive_without=positive + corner
    )
    with pytest.raises(ValueError, match="where one of them has an area"):
        sampled(setup, gated, steps=1)
    by_model = gate(
        patched(setup.model), positive + corner, negative, left(), model_without=setup.model
    )
    found = sampled(setup, by_model, steps=1)
    assert torch.equal(found[..., 8:], sample(setup, positive + corner, negative, steps=1)[..., 8:])


def only_from(cond, start, end):
    from nodes import ConditioningSetTimestepRange

    return ConditioningSetTimestepRange().set_range(cond, start, end)[0]


def test_after_the_end_of_a_prompt_with_control_the_one_without_it_counts(setup, gate):
    (positive, negative), other = prompts(setup), only_from(conditioning(7), 0.0, 0.5)
    model, runs = counted(setup.model)
    found = sampled(setup, gate(model, other, negative, left(), positive_without=positive))
    assert runs == [2, 1, 2]  # in the first of two steps
    going_on = other + only_from(positive, 0.5, 1.0)
    same = gate(setup.model, going_on, negative, left(), positive_without=positive)
    torch.testing.assert_close(found, sampled(setup, same), **CLOSE)
    assert not torch.allclose(found, sample(setup, positive, negative))


def test_a_step_in_which_only_a_prompt_with_control_acts_is_refused(setup, gate):
    (positive, negative), other = prompts(setup), conditioning(7)
    ending = only_from(positive, 0.0, 0.5)
    gated = gate(setup.model, other, negative, left(), positive_without=ending)
    with pytest.raises(ValueError, match="ranges of positive_without cover those of positive"):
        sampled(setup, gated)
    both = only_from(other, 0.0, 0.5), only_from(negative, 0.0, 0.5)
    gated = gate(setup.model, *both, left(), positive_without=ending)
    assert sampled(setup, gated).isfinite().all()


def test_windows_that_have_one_of_the_prompts_each_are_refused(setup, gate):
    def split(model):
        return windowed(model, 2, overlap=0, is_split=True)

    if not getattr(split(setup.model).model_options["context_handler"], _SPLIT, False):
        pytest.skip(f"this ComfyUI has no {_SPLIT}")
    (positive, negative), other = prompts(setup), conditioning(7)
    model, *conds = gate(setup.model, other, negative, left(), positive_without=positive)
    with pytest.raises(ValueError, match=f"have {_SPLIT} on"):
        sample(setup, *conds, model=split(model), batch=4)
    unsplit = sample(setup, *conds, model=model, batch=2)
    assert torch.equal(sample(setup, *conds, model=split(model), batch=2), unsplit)

    louder, once = patched(setup.model), {"batch": 4, "steps": 1}
    pair = positive + other, negative
    model, *conds = gate(louder, *pair, left(), model_without=setup.model)
    found = sample(setup, *conds, model=split(model), **once)
    within = sample(setup, *pair, model=split(louder), **once)
    check_halves(found, within, sample(setup, *pair, model=split(setup.model), **once))


def test_the_autoregressive_sampler_is_refused(comfy, gate):
    setup = causal_wan()
    setup.comfy = comfy
    (positive, negative), other = prompts(setup), setup.text(seed=7)
    free = sample_by_frame(setup, positive, negative)
    model, *conds = gate(setup.model, other, negative, left(), positive_without=positive)
    with pytest.raises(ValueError, match=r"SamplerARVideo.* not twice as for Gate Predictions"):
        sample_by_frame(setup, *conds, model=model)
    # Without guidance the negative prompt is not run.
    model, *conds = gate(setup.model, positive, other, left(), negative_without=negative)
    assert torch.equal(sample_by_frame(setup, *conds, model=model), free)


def skipping(model):
    from comfy_extras.nodes_slg import SkipLayerGuidanceDiTSimple

    return SkipLayerGuidanceDiTSimple.execute(model, 0.0, 1.0, "0").result[0]


def differential(model):
    from comfy_extras.nodes_differential_diffusion import DifferentialDiffusion

    return DifferentialDiffusion.execute(model).result[0]


def with_function(kind):
    def add(model):
        model = model.clone()
        getattr(model, f"set_model_{kind}")(lambda args: args["denoised"])
        return model

    return add


ABOVE = {
    "sampler_cfg_function": with_function("sampler_cfg_function"),
    "sampler_pre_cfg_function": with_function("sampler_pre_cfg_function"),
    "sampler_post_cfg_function": with_function("sampler_post_cfg_function"),
    "sampler_calc_cond_batch_function": skipping,
    "denoise_mask_function": differential,
    "context_handler": lambda model: windowed(model, 4),
}


@pytest.mark.parametrize("name", ABOVE)
def test_what_acts_behind_the_predictions_is_refused(setup, gate, name):
    guided = ABOVE[name](setup.model)
    with pytest.raises(ValueError, match=f"The model of .* has a {name} that model_without has"):
        gate(guided, *prompts(setup), left(), model_without=setup.model)
    with pytest.raises(ValueError, match=f"The model_without of .* has a {name} that model has"):
        gate(patched(setup.model), *prompts(setup), left(), model_without=guided)
    gate(patched(guided), *prompts(setup), left(), model_without=guided)


def test_what_acts_behind_the_predictions_of_both_leaves_the_outside(setup, gate):
    guided = ABOVE["sampler_post_cfg_function"](setup.model)
    gated = gate(patched(guided), *prompts(setup), left(), model_without=guided)
    found = sampled(setup, gated, steps=1)
    assert torch.equal(found[..., 8:], sample(setup, *prompts(setup), steps=1)[..., 8:])


def test_windows_of_both_models_need_not_come_from_one_node(setup, gate):
    within, without = windowed(patched(setup.model), 2), windowed(setup.model, 2)
    sample(setup, *prompts(setup), model=within, batch=3)  # its windows keep something of that
    model, *conds = gate(within, *prompts(setup), left(), model_without=without)
    assert sample(setup, *conds, model=model, batch=3).isfinite().all()


def test_injections_of_one_model_are_refused(setup, gate):
    injected = setup.model.clone()
    injected.set_injections("test", [])
    with pytest.raises(ValueError, match="differ in what is injected"):
        gate(injected, *prompts(setup), left(), model_without=setup.model)


class TestWiring:
    """Its three outputs belong to one sampler, which says so before the first step."""

    @pytest.fixture
    def gated(self, setup, gate):
        (positive, negative), other = prompts(setup), conditioning(7)
        without = {"positive_without": positive, "negative_without": negative}
        return gate(setup.model, other, conditioning(8), left(), **without)

    def test_prompts_without_their_model_are_named(self, setup, gated):
        _, positive, negative = gated
        for conds in (
            (positive, negative),
            (positive, prompts(setup)[1]),
            (prompts(setup)[0], negative),
        ):
            with pytest.raises(ValueError, match="is sampled without its model"):
                sample(setup, *conds)

    def test_a_model_without_its_prompts_is_named_with_those_that_lack(self, setup, gated):
        model, positive, negative = gated
        plain = prompts(setup)
        for conds, lacking in (
            (plain, "positive and negative"),
            ((positive, plain[1]), "negative"),
            ((plain[0], negative), "positive"),
        ):
            with pytest.raises(ValueError, match=f"without its {lacking} output"):
                sample(setup, *conds, model=model)

    def test_a_guider_of_one_prompt_needs_that_one_alone(self, gated):
        from comfy.samplers import CFGGuider, sampler_object

        model, positive, _ = gated
        guider = CFGGuider(model)
        guider.inner_set_conds({"positive": positive})
        guider.set_cfg(1.0)
        latent = torch.zeros(1, 4, 16, 16)
        sigmas = torch.tensor([5.0, 0.0])
        options = {"seed": 0, "disable_pbar": True}
        noise = torch.ones_like(latent)
        found = guider.sample(noise, latent, sampler_object("euler"), sigmas, **options)
        assert found.isfinite().all()

    def test_one_that_has_its_control_in_the_model_takes_any_prompts(self, setup, gate):
        model, *_ = gate(patched(setup.model), *prompts(setup), left(), model_without=setup.model)
        assert sample(setup, *prompts(setup), model=model, steps=1).isfinite().all()

    def test_tools_that_cut_the_pictures_of_controls_find_one(self, setup, gated):
        model, *conds = gated
        whole = sample(setup, *conds, model=model, steps=1)
        for cond in conds:
            for entry in cond:
                control = entry[1]["control"].copy()
                control.cond_hint_original = control.cond_hint_original[..., :8, :8]
                entry[1]["control"] = control
        assert torch.equal(sample(setup, *conds, model=model, steps=1), whole)
