"""GatedControl: any of ComfyUI's controls in a region, in ComfyUI's own sampling."""

import pytest
import torch
from controls import CLOSE, SIZE, half, local, picture, prompts, sample, shape, stock
from small_controls import BUILDERS, flux


@pytest.fixture(params=BUILDERS)
def setup(comfy, request):
    found = BUILDERS[request.param]()
    found.comfy, found.name = comfy, request.param
    return found


def test_a_latent_with_a_black_mask_is_bit_equal_to_no_control(setup):
    masks = torch.stack([torch.zeros(128, 128), torch.ones(128, 128)])
    plain = sample(setup, *prompts(setup), batch=2)
    found = sample(setup, *local(setup, masks), batch=2)
    assert torch.equal(found[0], plain[0])
    assert not torch.equal(found[1], plain[1])


def test_a_full_mask_is_bit_equal_to_the_plain_control(setup):
    full = sample(setup, *local(setup, torch.ones(1, 128, 128)))
    assert torch.equal(full, sample(setup, *stock(setup)))
    assert not torch.equal(full, sample(setup, *prompts(setup)))


def test_left_half_differs_from_top_half(setup):
    left, top = (sample(setup, *local(setup, half(top=top))) for top in (False, True))
    assert left.isfinite().all()
    assert not torch.allclose(left, top)


@pytest.mark.parametrize("size", [(10, 14), (9, 13)])
def test_sizes_that_are_not_square_or_odd(setup, size):
    if setup.name == "flux pictures" and size[0] % 2:
        pytest.skip("ComfyUI's own XLabs controls fail at odd sizes")
    ones, image = torch.ones(1, 8 * size[0], 8 * size[1]), picture(size)
    full = sample(setup, *local(setup, ones, image), size=size)
    assert torch.equal(full, sample(setup, *stock(setup, image), size=size))
    assert not torch.equal(sample(setup, *local(setup, half(size), image), size=size), full)


def test_only_tensors_of_the_masked_half_are_left(setup):
    """The gate itself: tensors are zero exactly where the mask is."""
    calls = setup.comfy.module("nodes.sampler.control.call")
    masks = setup.comfy.module("local_control.region_mask")
    view = setup.comfy.module("local_control.view").View(SIZE, SIZE)
    x = torch.zeros(shape(setup, SIZE, 1))
    call = calls.Call(x, torch.ones(1), {}, {}, (view,))
    mask = masks.RegionMask(half()[None])
    tokens = torch.ones(1, 8 * 8, 4)
    gate = call.gate(mask, tokens) * tokens
    rows = gate.reshape(8, 8, 4)
    assert rows[:, :4].min() == 1
    assert rows[:, 4:].max() == 0
    feature = torch.ones(1, 4, 16, 16)
    gate = call.gate(mask, feature) * feature
    assert gate[..., :8].min() == 1
    assert gate[..., 8:].max() == 0


def test_each_latent_of_a_batch_has_its_mask(setup):
    masks = torch.cat([half(), 1 - half()])
    both = sample(setup, *local(setup, masks), batch=2)
    for i in range(2):
        alone = sample(setup, *local(setup, masks[i : i + 1]), batch=2)
        torch.testing.assert_close(both[i], alone[i], **CLOSE)


@pytest.mark.parametrize("ours_first", [True, False])
def test_chains_with_stock_controls_keep_both(setup, ours_first):
    other, ones = picture(seed=9), torch.ones(1, 128, 128)
    if ours_first:
        chained = stock(setup, other, *local(setup, ones))
    else:
        chained = local(setup, ones, None, *stock(setup, other))
    both = stock(setup, other, *stock(setup))
    torch.testing.assert_close(sample(setup, *chained), sample(setup, *both), **CLOSE)


def test_strength_and_range_act_as_in_comfyui(setup):
    options = {"strength": 0.7, "start_percent": 0.0, "end_percent": 0.5}
    ours = sample(setup, *local(setup, torch.ones(1, 128, 128), **options))
    assert torch.equal(ours, sample(setup, *stock(setup, **options)))


def test_a_curve_scales_the_strength(setup):
    ones = torch.ones(1, 128, 128)
    flat = sample(setup, *local(setup, ones, strength_curve="0.5"))
    # Of this one's strength ComfyUI takes the root.
    strength = 0.25 if setup.name == "qwen fun" else 0.5
    half_strength = sample(setup, *local(setup, ones, strength=strength))
    torch.testing.assert_close(flat, half_strength, **CLOSE)
    fading = sample(setup, *local(setup, ones, strength_curve="1, 0"))
    assert not torch.allclose(fading, flat)


def test_one_prompt_alone_can_be_controlled(setup):
    ones = torch.ones(1, 128, 128)
    both, positive, negative = (
        sample(setup, *local(setup, ones, acts_on=who)) for who in ("both", "positive", "negative")
    )
    assert not torch.allclose(both, positive)
    assert not torch.allclose(positive, negative)
    alone = sample(setup, local(setup, ones)[0], prompts(setup)[1])
    torch.testing.assert_close(positive, alone, **CLOSE)


def test_level_weights_of_zero_mean_no_control(setup):
    silent = sample(setup, *local(setup, half(), level_weights="0"))
    assert torch.equal(silent, sample(setup, *prompts(setup)))


def test_what_enters_leaves_unharmed(setup):
    before = sample(setup, *stock(setup))
    sample(setup, *local(setup, half()))
    assert torch.equal(sample(setup, *stock(setup)), before)


def area(conds, area):
    return [[embedding, {**options, "area": area}] for embedding, options in conds]


def test_in_an_area_the_mask_is_cropped_as_the_area_is(setup):
    """An area's control is that of the cropped mask and picture over the area alone."""
    positive, negative = local(setup, half())
    y, x = 4, 6
    seen = slice(8 * y, 8 * (y + 8)), slice(8 * x, 8 * (x + 8))
    place = (8, 8, y, x) if not hasattr(setup, "frames") else (1, 8, 8, 0, y, x)
    whole = sample(setup, area(positive, place), area(negative, place))
    cropped = local(
        setup, half()[:, seen[0], seen[1]].contiguous(), picture()[:, seen[0], seen[1]].contiguous()
    )
    import comfy.hooks

    for conds in cropped:
        conds[0][1]["control"].extra_hooks = comfy.hooks.HookGroup()  # knows of no areas
    expected = sample(setup, area(cropped[0], place), area(cropped[1], place))
    torch.testing.assert_close(whole, expected, **CLOSE)


def test_areas_of_one_size_that_are_batched_keep_their_own_crops(setup):
    positive, negative = local(setup, half())
    frames = hasattr(setup, "frames")
    left = (1, 16, 8, 0, 0, 0) if frames else (16, 8, 0, 0)
    right = (1, 16, 8, 0, 0, 8) if frames else (16, 8, 0, 8)
    both = area(positive, left) + area(positive, right)
    together = sample(setup, both, negative, cfg=1.0)
    plain = prompts(setup)[0]
    # The right half is outside the mask, so its area is as without control.
    free = area(positive, left) + area(plain, right)
    expected = sample(setup, free, negative, cfg=1.0)
    torch.testing.assert_close(together, expected, **CLOSE)


def test_inpaint_controls_get_the_regions_mask_as_comfyuis_own_node_gives_it(comfy):
    from comfy_extras.nodes_controlnet import ControlNetInpaintingAliMamaApply

    setup = flux(inpaint=True)
    setup.comfy, setup.name = comfy, "flux"
    ones = torch.ones(1, 128, 128)
    theirs = ControlNetInpaintingAliMamaApply.execute(
        *prompts(setup), setup.control, setup.vae, picture(), ones, 1.0, 0.0, 1.0
    ).result
    assert torch.equal(sample(setup, *local(setup, ones)), sample(setup, *theirs))
    theirs = ControlNetInpaintingAliMamaApply.execute(
        *prompts(setup), setup.control, setup.vae, picture(), half(), 1.0, 0.0, 1.0
    ).result
    view = comfy.module("local_control.view").View(SIZE, SIZE)
    (region,) = local(setup, half())[0][0][1]["control"].regions
    ours, stock_control = region.inner(view, 1), theirs[0][0][1]["control"]
    assert torch.equal(ours.cond_hint_original, stock_control.cond_hint_original)
    assert torch.equal(ours.extra_concat_orig[0], stock_control.extra_concat_orig[0])
    assert sample(setup, *local(setup, half())).isfinite().all()


@pytest.mark.parametrize("denoise", [0.6, 1.0])
@pytest.mark.parametrize("name", ["sd15", "sd3"])
def test_img2img_and_inpainting_are_controlled_as_stock_controls_them(comfy, name, denoise):
    from comfy.sample import sample as comfy_sample

    setup = BUILDERS[name]()
    setup.comfy, setup.name = comfy, name
    generator = torch.Generator().manual_seed(8)
    latent, noise = (torch.randn(shape(setup, SIZE, 1), generator=generator) for _ in range(2))
    inpaint = half()[:, None]

    def run(conds):
        options = {"denoise": denoise, "noise_mask": inpaint, "seed": 0, "disable_pbar": True}
        return comfy_sample(
            setup.model, noise, 3, 2.0, "euler", "simple", *conds, latent, **options
        )

    ours = run(local(setup, torch.ones(1, 128, 128)))
    assert torch.equal(ours, run(stock(setup)))
    assert not torch.equal(ours, run(local(setup, half(top=True))))
    torch.testing.assert_close(ours[..., 9:], latent[..., 9:], rtol=1e-4, atol=1e-4)
