"""The contract of parity: what holds for every kind of control, wherever a graph puts it.

A row in `BUILDERS` of `tests/support/small_controls.py` is held to all of it.
"""

import gc
import importlib
import os
import weakref
from types import MappingProxyType

import pytest
import torch
from controls import CLOSE
from images import left, picture, stripes, top, white
from kinds import KINDS, make_kind, windowed
from other_tools import Telling, cropped
from two_devices import emulate, on_two

# Of our two kinds of control, adapters and any other.
ONE_OF_EACH_CLASS = ("adapter sd15", "sd15")


@pytest.fixture(params=KINDS)
def kind(comfy, request):
    return make_kind(comfy, request.param)


def with_options(conds, **options):
    """Both prompts with options that ComfyUI's own nodes set, as `area`."""
    return [[[text, {**old, **options}] for text, old in cond] for cond in conds]


class TestVanilla:
    """What a graph gives without our nodes, it gives beside them too."""

    def test_prompts_masks_pictures_and_model_leave_as_they_came(self, kind):
        conds, mask, image = kind.prompts(), left(), picture()
        free, plain = kind.sample(conds), kind.sample(kind.stock())
        kind.sample(kind.local(mask, image, positive=conds[0], negative=conds[1]))
        assert torch.equal(mask, left())
        assert torch.equal(image, picture())
        assert all("control" not in options for cond in conds for _, options in cond)
        for (now, *_), (then, *_) in zip(conds, kind.prompts(), strict=True):
            assert torch.equal(now[0], then[0])
        assert torch.equal(kind.sample(conds), free)
        assert torch.equal(kind.sample(kind.stock()), plain)


class TestMask:
    """Black is no control, white is the control as ComfyUI's node applies it."""

    def test_a_latent_with_a_black_mask_is_bit_equal_to_no_control(self, kind):
        masks = torch.cat([torch.zeros_like(white()), white()])
        found, free = kind.sample(kind.local(masks), batch=2), kind.free(batch=2)
        assert torch.equal(found[0], free[0])
        assert not torch.allclose(found[1], free[1])

    def test_a_white_mask_is_bit_equal_to_the_stock_control(self, kind):
        full = kind.sample(kind.local(white()))
        assert torch.equal(full, kind.sample(kind.stock()))
        assert not torch.allclose(full, kind.free())

    def test_strength_and_range_are_those_of_the_stock_control(self, kind):
        options = {"strength": 0.7, "start_percent": 0.0, "end_percent": 0.4}
        ours = kind.sample(kind.local(white(), **options))
        assert torch.equal(ours, kind.sample(kind.stock(**options)))
        assert not torch.allclose(ours, kind.sample(kind.local(white(), strength=0.7)))

    def test_the_left_half_differs_from_the_top_half(self, kind):
        by_left, by_top = (kind.sample(kind.local(mask)) for mask in (left(), top()))
        assert by_left.isfinite().all()
        assert not torch.allclose(by_left, by_top)

    def test_level_weights_of_zero_mean_no_control(self, kind):
        count = 4 if kind.name.startswith("adapter") else 1
        silent = kind.sample(kind.local(left(), level_weights=", ".join("0" * count)))
        assert torch.equal(silent, kind.free())

    def test_a_flat_curve_is_a_strength_and_others_fade(self, kind):
        def curved(curve):
            return kind.sample(kind.local(white(), strength_curve=curve))

        # ComfyUI takes the root of this one's strength.
        half = 0.25 if kind.name == "qwen fun" else 0.5
        weaker = kind.sample(kind.local(white(), strength=half))
        torch.testing.assert_close(curved("0.5"), weaker, **CLOSE)
        torch.testing.assert_close(curved("0.5, 0.5, 0.5"), weaker, **CLOSE)
        assert not torch.allclose(curved("1, 0"), curved("0, 1"))

    def test_one_prompt_alone_can_be_controlled(self, kind):
        controlled, free = kind.local(white()), kind.prompts()
        positive, negative = (
            kind.sample(kind.local(white(), acts_on=who)) for who in ("positive", "negative")
        )
        alone = kind.sample((controlled[0], free[1]))
        torch.testing.assert_close(positive, alone, **CLOSE)
        assert not torch.allclose(positive, negative)
        assert not torch.allclose(positive, kind.sample(controlled))

    def test_images_and_inpainting_are_controlled_as_by_the_stock_control(self, kind):
        latent = torch.randn(kind.shape(), generator=torch.Generator().manual_seed(8))
        run = {"latent": latent, "denoise": 0.6, "noise_mask": left()[:, None], "steps": 3}
        ours = kind.sample(kind.local(white()), **run)
        assert torch.equal(ours, kind.sample(kind.stock(), **run))
        assert not torch.equal(ours, kind.sample(kind.local(top()), **run))
        # What is not inpainted stays.
        torch.testing.assert_close(ours[..., 9:], latent[..., 9:], rtol=1e-4, atol=1e-4)


class TestSizes:
    """Latents of any size, each of a batch with its own mask and picture."""

    @pytest.mark.parametrize("size", [(8, 24), (10, 14), (9, 13)])
    def test_a_white_mask_is_bit_equal_to_the_stock_control(self, kind, size):
        if kind.name == "flux pictures" and size[0] % 2:
            pytest.skip("ComfyUI's own XLabs controls fail at odd sizes")
        image = picture(size)
        full = kind.sample(kind.local(white(size), image), size=size)
        assert torch.equal(full, kind.sample(kind.stock(image), size=size))
        gated = kind.sample(kind.local(left(size), image), size=size)
        assert gated.isfinite().all()
        assert not torch.allclose(gated, full)

    def test_each_latent_of_a_batch_has_its_mask_and_its_picture(self, kind):
        images, masks = picture(batch=2), torch.cat([left(), 1 - left()])
        both = kind.sample(kind.local(masks, images), batch=2)
        # Noise is drawn for the batch, so one alone needs the batch too.
        for i in range(2):
            alone = kind.sample(kind.local(masks[i : i + 1], images[i : i + 1]), batch=2)
            torch.testing.assert_close(both[i], alone[i], **CLOSE)
        assert not torch.allclose(*both)

    def test_a_second_pass_over_larger_latents_keeps_the_region(self, kind):
        image = torch.full((1, 128, 128, 3), 0.3)
        large = kind.sample(kind.local(left(), image), size=(32, 32))
        image = image.repeat(1, 2, 2, 1)
        expected = kind.sample(kind.local(left((32, 32)), image), size=(32, 32))
        torch.testing.assert_close(large, expected, **CLOSE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_white_is_the_stock_control_and_black_is_none(kind, dtype):
    if kind.name == "union" and dtype == torch.float16:
        pytest.skip("its maps of 320 channels take a CPU a minute in fp16")
    kind.cast(dtype)
    run = {"batch": 2, "steps": 1, "size": (8, 8)}
    image, masks = picture((8, 8)), torch.cat([torch.zeros_like(white((8, 8))), white((8, 8))])
    found = kind.sample(kind.local(masks, image), **run)
    assert found.isfinite().all()
    free, plain = kind.free(**run), kind.sample(kind.stock(image), **run)
    assert torch.equal(found[0], free[0])
    assert torch.equal(found[1], plain[1])
    assert not torch.allclose(found[1], free[1])


class TestStacking:
    """Controls of one prompt all act, whichever node put them there."""

    @pytest.mark.parametrize("is_ours_first", [True, False])
    def test_a_chain_with_a_stock_control_keeps_both(self, kind, is_ours_first):
        other = picture(seed=9)
        both = kind.sample(kind.stock(other, **prompts_of(kind.stock())))
        if is_ours_first:
            found = kind.stock(other, **prompts_of(kind.local(white())))
        else:
            found = kind.local(white(), **prompts_of(kind.stock(other)))
        torch.testing.assert_close(kind.sample(found), both, **CLOSE)
        assert not torch.allclose(both, kind.sample(kind.stock()))

    def test_two_regions_that_cover_the_picture_are_one(self, kind):
        halves = kind.region(1 - left(), regions=kind.region(left()))
        one = kind.sample(kind.local(white()))
        torch.testing.assert_close(kind.sample(kind.apply(halves)), one, **CLOSE)

    def test_regions_of_one_node_act_as_those_of_nodes_in_a_row(self, kind):
        other = {"mask": top(), "image": picture(seed=9)}
        together = kind.apply(kind.region(**other, regions=kind.region(left())))
        in_a_row = kind.local(**other, **prompts_of(kind.local(left())))
        found = kind.sample(together)
        torch.testing.assert_close(found, kind.sample(in_a_row), **CLOSE)
        assert not torch.allclose(found, kind.sample(kind.local(left())))


def prompts_of(conds):
    return dict(zip(("positive", "negative"), conds, strict=True))


class TestRequeue:
    """A graph that is queued again gives the same to the bit."""

    def test_at_once_and_after_others_as_its_nodes_are_kept_and_as_they_run_anew(self, kind):
        kept = kind.local(left())
        first = kind.sample(kept)
        assert torch.equal(kind.sample(kept), first)
        others = kind.local(top(), picture(seed=9), strength=0.5)
        kind.sample(others, batch=2)
        kind.sample(others, size=(8, 8))
        kind.sample(kept, size=(8, 8))
        kind.sample(kind.stock())
        assert torch.equal(kind.sample(kept), first)
        assert torch.equal(kind.sample(kind.local(left())), first)


class TestNodeOrder:
    """What can stand before our nodes or after them, or in either order, gives the same."""

    def test_regions_may_be_chained_in_either_order(self, kind):
        both = [{"mask": left()}, {"mask": top(), "image": picture(seed=9)}]
        found = []
        for first, second in (both, both[::-1]):
            regions = kind.region(**second, regions=kind.region(**first))
            found.append(kind.sample(kind.apply(regions)))
        torch.testing.assert_close(*found, **CLOSE)

    def test_a_mask_of_the_prompt_may_be_set_before_or_after(self, kind):
        from nodes import ConditioningSetMask

        def masked(conds):
            node = ConditioningSetMask()
            return [node.append(cond, top(), "default", 0.8)[0] for cond in conds]

        before = kind.local(left(), **prompts_of(masked(kind.prompts())))
        found = kind.sample(before)
        assert torch.equal(found, kind.sample(masked(kind.local(left()))))
        assert not torch.allclose(found, kind.sample(masked(kind.prompts())))

    def test_the_prompts_may_be_run_in_either_order(self, kind):
        import comfy.samplers

        def calc(args):
            found = comfy.samplers.calc_cond_batch(
                args["model"],
                args["conds"][::-1],
                args["input"],
                args["sigma"],
                args["model_options"],
            )
            return found[::-1]

        swapped = kind.setup.model.clone()
        swapped.set_model_sampler_calc_cond_batch_function(calc)
        for who in ("both", "positive"):
            conds = kind.local(left(), acts_on=who)
            found = kind.sample(conds, model=swapped)
            torch.testing.assert_close(found, kind.sample(conds), **CLOSE)


class TestAreas:
    """In an area of the prompt, mask and picture are cropped as the area is."""

    def place(self, kind, *place):
        """An area as ComfyUI writes it for latents of this kind: rows, columns, top, left."""
        height, width, row, column = place
        has_frames = len(kind.shape()) > 4
        return (1, height, width, 0, row, column) if has_frames else place

    def test_an_area_is_controlled_by_its_part_of_mask_and_picture(self, kind):
        import comfy.hooks

        area = self.place(kind, 8, 8, 4, 6)
        rows, columns = slice(32, 96), slice(48, 112)
        found = kind.sample(with_options(kind.local(left()), area=area))
        parts = (whole[:, rows, columns].contiguous() for whole in (left(), picture()))
        cut = kind.local(*parts)
        for cond in cut:
            cond[0][1]["control"].extra_hooks = comfy.hooks.HookGroup()  # knows of no areas
        torch.testing.assert_close(found, kind.sample(with_options(cut, area=area)), **CLOSE)
        assert not torch.allclose(found, kind.sample(with_options(kind.prompts(), area=area)))

    def test_an_area_outside_the_mask_is_bit_equal_to_no_control(self, kind):
        area = self.place(kind, 16, 8, 0, 8)
        # One prompt alone: prompts with controls of their own are not sampled in one batch.
        found = kind.sample(with_options(kind.local(left()), area=area), cfg=1.0)
        free = with_options(kind.prompts(), area=area)
        assert torch.equal(found, kind.sample(free, cfg=1.0))

    def test_areas_of_one_size_that_are_run_together_have_each_its_part(self, kind):
        inside, outside = (self.place(kind, 16, 8, 0, column) for column in (0, 8))
        controlled, free = kind.local(left()), kind.prompts()
        within = with_options(controlled, area=inside)[0]
        both = within + with_options(controlled, area=outside)[0]
        apart = within + with_options(free, area=outside)[0]
        found = kind.sample((both, free[1]), cfg=1.0)
        torch.testing.assert_close(found, kind.sample((apart, free[1]), cfg=1.0), **CLOSE)


class TestWindows:
    """Context windows over a batch of latents give what sampling them all at once gives."""

    # ComfyUI 0.3.75 compares six latents with the noise levels of as many steps and one.
    sampled = MappingProxyType({"batch": 6, "steps": 5})

    def check_windowed(self, kind, masks, pictures):
        conds = kind.local(stripes(masks), picture(batch=pictures))
        whole = kind.sample(conds, **self.sampled)
        model = windowed(kind.setup.model, 4)
        found = kind.sample(conds, model=model, **self.sampled)
        torch.testing.assert_close(found, whole, **CLOSE)

    def test_windowed_is_as_unwindowed(self, kind):
        self.check_windowed(kind, 6, 6)

    @pytest.mark.parametrize("kind", ONE_OF_EACH_CLASS, indirect=True)
    @pytest.mark.parametrize(("masks", "pictures"), [(6, 1), (1, 6)])
    def test_one_mask_or_picture_serves_all_windows(self, kind, masks, pictures):
        self.check_windowed(kind, masks, pictures)

    def test_masks_for_a_window_alone_are_refused_by_the_number_of_latents(self, kind):
        model = windowed(kind.setup.model, 4)
        with pytest.raises(ValueError, match="4 masks for 6 latents"):
            kind.sample(kind.local(stripes(4)), model=model, **self.sampled)

    def test_windows_of_rows_see_their_part_of_mask_and_picture(self, kind):
        self.check_part(kind, -2)

    @pytest.mark.parametrize("kind", ONE_OF_EACH_CLASS, indirect=True)
    def test_windows_of_columns_see_their_part_of_mask_and_picture(self, kind):
        self.check_part(kind, -1)

    def check_part(self, kind, side):
        steps = {"steps": 5}
        mask, image = (top() if side == -2 else left()), picture()
        other = torch.where(mask[..., None] == 1, image, picture(seed=9))
        model = windowed(kind.setup.model, 8, len(kind.shape()) + side, overlap=0)
        found = kind.sample(kind.local(mask, image), model=model, **steps)
        inside, outside = found.split(8, side)
        full = kind.sample(kind.local(torch.ones_like(mask), other), model=model, **steps)
        torch.testing.assert_close(inside, full.split(8, side)[0], **CLOSE)
        assert torch.equal(outside, kind.free(model=model, **steps).split(8, side)[1])
        assert not torch.allclose(full.split(8, side)[1], outside)

    def test_windows_that_are_told_on_the_control_are_the_same(self, kind):
        """As AnimateDiff-Evolved tells them, for controls that have a place for it."""
        own = [3, 1]
        (_, options), *_ = kind.local(stripes(6), picture(batch=6))[0]
        (_, alone), *_ = kind.local(stripes(6)[own], picture(batch=6)[own])[0]
        told, expected = options["control"], alone["control"]
        found = []
        for control in (told, expected):
            model = Telling(kind.setup.model, control if control is told else None, own)
            found.append(kind.sample(model.conds(kind, control), model=model.patcher, batch=2))
        assert torch.equal(*found)


class TestTiles:
    """Tools that sample tiles crop the condition and the mask of a control with the picture."""

    @pytest.mark.parametrize("size", [None, (128, 128)])
    def test_a_tile_is_as_a_region_of_the_cropped_picture_and_mask(self, kind, size):
        box, tile = (32, 16, 96, 80), size or (64, 64)
        latent = (tile[0] // 8, tile[1] // 8)
        mask, image = left(), picture()

        def cut(pixels):
            part = pixels[:, 32:96, 16:80]
            if size is None:
                return part.contiguous()
            channels = part.movedim(-1, 1) if part.ndim == 4 else part[:, None]
            sized = torch.nn.functional.interpolate(channels, size, mode="nearest-exact")
            return sized.movedim(1, -1) if part.ndim == 4 else sized[:, 0]

        expected = kind.sample(kind.local(cut(mask), cut(image)), size=latent)
        found = [cropped(conds, box, size) for conds in kind.local(mask, image)]
        torch.testing.assert_close(kind.sample(found, size=latent), expected, **CLOSE)
        assert not torch.allclose(expected, kind.free(size=latent))

    def test_the_cropping_code_of_ultimate_sd_upscale(self, kind, monkeypatch):
        path = os.environ.get("USDU_PATH")
        if not path:
            pytest.skip("set USDU_PATH to a folder of Ultimate SD Upscale to run its own code")
        monkeypatch.syspath_prepend(path)
        crop = importlib.import_module("usdu_utils").crop_cond
        sizes = {"init_size": (128, 128), "canvas_size": (128, 128), "tile_size": (64, 64)}
        mask, image = left(), picture()

        def tile(*corner):
            box = (*corner, *(side + 64 for side in corner))
            found = [crop(conds, box, **sizes) for conds in kind.local(mask, image)]
            return kind.sample(found, size=(8, 8), cfg=1.0)

        cut = mask[:, 32:96, 16:80].contiguous(), image[:, 32:96, 16:80].contiguous()
        expected = kind.sample(kind.local(*cut), size=(8, 8), cfg=1.0)
        torch.testing.assert_close(tile(16, 32), expected, **CLOSE)
        assert torch.equal(tile(64, 0), kind.free(size=(8, 8), cfg=1.0))

    def test_a_tile_outside_the_mask_is_bit_equal_to_no_control(self, kind):
        found = [cropped(conds, (0, 64, 64, 128)) for conds in kind.local(left())]
        # One prompt alone: what is cropped apart is not sampled in one batch.
        run = {"size": (8, 8), "cfg": 1.0}
        assert torch.equal(kind.sample(found, **run), kind.free(**run))

    def test_each_tile_of_a_batch_has_its_own(self, kind):
        conds = kind.local(left())
        boxes = [(0, 0, 64, 64), (0, 64, 64, 128)]
        single = []
        for cond in conds:
            cuts = [cropped(cond, box)[0][1]["control"] for box in boxes]
            both = cuts[0].copy()
            both.cond_hint_original = torch.cat([cut.cond_hint_original for cut in cuts])
            single.append([[cond[0][0], {**cond[0][1], "control": both}]])
        run = {"size": (8, 8), "cfg": 1.0, "batch": 2}
        together, free = kind.sample(single, **run), kind.free(**run)
        assert torch.equal(together[1], free[1])
        assert not torch.allclose(together[0], free[0])

    def test_a_tile_that_a_tool_puts_in_counts_for_one_sampling(self, kind):
        """As tools do it that tell by ComfyUI's classes which controls they can cut."""
        from comfy.controlnet import T2IAdapter

        conds, run = kind.local(left()), {"size": (8, 8)}
        whole, kept = kind.sample(conds, **run), []

        def tile(column):
            for control in {cond[0][1]["control"] for cond in conds}:
                assert isinstance(control, T2IAdapter)
                control.cond_hint = control.cond_hint_original[
                    ..., :64, column : column + 64
                ].float()
                kept.append(weakref.ref(control.cond_hint))
            return kind.sample(conds, **run)

        expected = kind.sample([cropped(cond, (0, 0, 64, 64)) for cond in conds], **run)
        torch.testing.assert_close(tile(0), expected, **CLOSE)
        assert torch.equal(tile(64), kind.free(**run))
        assert torch.equal(kind.sample(conds, **run), whole)
        gc.collect()
        assert not any(reference() is not None for reference in kept)


class TestExact:
    """Exact regions: predictions with and without whole control, blended by the mask."""

    def test_a_step_is_that_of_whole_control_inside_and_of_none_outside(self, kind):
        found = kind.sample(kind.local(left(), outside="exact"), steps=1)
        free, whole = kind.free(steps=1), kind.sample(kind.stock(), steps=1)
        assert torch.equal(found[..., 8:], free[..., 8:])
        torch.testing.assert_close(found[..., :8], whole[..., :8], **CLOSE)
        assert not torch.allclose(whole[..., 8:], free[..., 8:])

    def test_a_latent_with_a_black_mask_is_bit_equal_to_no_control(self, kind):
        masks = torch.cat([torch.zeros_like(left()), left()])
        found = kind.sample(kind.local(masks, outside="exact"), batch=2)
        free = kind.free(batch=2)
        assert torch.equal(found[0], free[0])
        assert not torch.allclose(found[1], free[1])


class TestTwoDevices:
    """Two GPUs give one GPU's picture."""

    @pytest.fixture(autouse=True)
    def devices(self, kind, monkeypatch):
        if kind.name == "lora":
            pytest.skip("ComfyUI's own Control-LoRAs take their weights from the first GPU")
        emulate(monkeypatch)

    @pytest.mark.parametrize(
        "options", [{}, {"strength_curve": "1, 0.5", "feather": 16}, {"outside": "exact"}]
    )
    def test_regions_are_as_on_one(self, kind, options):
        conds = kind.local(left(), **options)
        one = kind.sample(conds)
        torch.testing.assert_close(kind.sample(conds, model=on_two(kind)), one, **CLOSE)
        assert not torch.allclose(one, kind.free())

    def test_stock_controls_of_the_chain_are_kept(self, kind):
        conds = kind.local(left(), **prompts_of(kind.stock()))
        one = kind.sample(conds)
        torch.testing.assert_close(kind.sample(conds, model=on_two(kind)), one, **CLOSE)
