"""The contract of parity: what holds for every kind of control, wherever a graph puts it."""

import gc
import importlib
import os
import weakref
from types import MappingProxyType

import pytest
import torch
from kinds import CLOSE, KINDS, half, make_kind, picture, stripes, windowed


@pytest.fixture(params=KINDS)
def kind(comfy, request):
    return make_kind(comfy, request.param)


def cropped(conds, box, size=None):
    """A conditioning as tile tools make it: every control's picture cut, perhaps resized.

    They copy each control of the chain and set its public fields; box: top, left, bottom, right.
    """
    out = []
    for embedding, options in conds:
        options = dict(options)
        link = options["control"]
        options["control"] = copy = link.copy()
        while link is not None:
            top, left, bottom, right = box
            hint = copy.cond_hint_original[..., top:bottom, left:right]
            if size is not None:
                hint = torch.nn.functional.interpolate(hint, size, mode="nearest-exact")
            copy.cond_hint_original = hint
            link = link.previous_controlnet
            copy.set_previous_controlnet(None if link is None else link.copy())
            copy = copy.previous_controlnet
        out.append([embedding, options])
    return out


class TestWindows:
    """Context windows over a batch of latents give what sampling them all at once gives."""

    # ComfyUI 0.3.75 compares six latents with the noise levels of as many steps and one.
    sampled = MappingProxyType({"batch": 6, "steps": 5})

    @pytest.mark.parametrize(("masks", "pictures"), [(6, 1), (1, 6), (6, 6)])
    def test_windowed_is_as_unwindowed(self, kind, masks, pictures):
        conds = kind.local(stripes(masks), picture(batch=pictures))
        whole = kind.sample(conds, **self.sampled)
        model = windowed(kind.setup.model, 4)
        found = kind.sample(conds, model=model, **self.sampled)
        torch.testing.assert_close(found, whole, **CLOSE)

    def test_masks_for_a_window_alone_are_refused_by_the_number_of_latents(self, kind):
        model = windowed(kind.setup.model, 4)
        with pytest.raises(ValueError, match="4 masks for 6 latents"):
            kind.sample(kind.local(stripes(4)), model=model, **self.sampled)

    @pytest.mark.parametrize("side", [-2, -1])
    def test_windows_of_rows_or_columns_see_their_part_of_mask_and_picture(self, kind, side):
        steps = {"steps": 5}
        mask, image = half(top=side == -2), picture()
        other = torch.where(mask[..., None] == 1, image, picture(seed=9))
        model = windowed(kind.setup.model, 8, len(kind.shape()) + side, overlap=0)
        found = kind.sample(kind.local(mask, image), model=model, **steps)
        white, black = found.split(8, side)
        full = kind.sample(kind.local(torch.ones_like(mask), other), model=model, **steps)
        torch.testing.assert_close(white, full.split(8, side)[0], **CLOSE)
        assert torch.equal(black, kind.free(model=model, **steps).split(8, side)[1])
        assert not torch.allclose(full.split(8, side)[1], black)

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


class Telling:
    """A model before each call of which the window is put on a control."""

    def __init__(self, patcher, control, indices):
        from comfy.patcher_extension import WrappersMP

        self.patcher = patcher.clone()

        def tell(executor, *args):
            if control is not None:
                control.sub_idxs, control.full_latent_length = indices, 6
                control.context_length = len(indices)
            return executor(*args)

        self.patcher.add_wrapper(WrappersMP.CALC_COND_BATCH, tell)

    def conds(self, kind, control):
        """Both prompts with this control."""
        return [
            [[embedding, {**options, "control": control}] for embedding, options in cond]
            for cond in kind.prompts()
        ]


class TestTiles:
    """Tools that sample tiles crop the condition and the mask of a control with the picture."""

    @pytest.mark.parametrize("size", [None, (128, 128)])
    def test_a_tile_is_as_a_region_of_the_cropped_picture_and_mask(self, kind, size):
        box, tile = (32, 16, 96, 80), size or (64, 64)
        latent = (tile[0] // 8, tile[1] // 8)
        mask, image = half(), picture()

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
        mask, image = half(), picture()

        def tile(*corner):
            box = (*corner, *(side + 64 for side in corner))
            found = [crop(conds, box, **sizes) for conds in kind.local(mask, image)]
            return kind.sample(found, size=(8, 8), cfg=1.0)

        cut = mask[:, 32:96, 16:80].contiguous(), image[:, 32:96, 16:80].contiguous()
        expected = kind.sample(kind.local(*cut), size=(8, 8), cfg=1.0)
        torch.testing.assert_close(tile(16, 32), expected, **CLOSE)
        assert torch.equal(tile(64, 0), kind.free(size=(8, 8), cfg=1.0))

    def test_a_tile_outside_the_mask_is_bit_equal_to_no_control(self, kind):
        found = [cropped(conds, (0, 64, 64, 128)) for conds in kind.local(half())]
        # One prompt alone: what is cropped apart is not sampled in one batch.
        run = {"size": (8, 8), "cfg": 1.0}
        assert torch.equal(kind.sample(found, **run), kind.free(**run))

    def test_each_tile_of_a_batch_has_its_own(self, kind):
        conds = kind.local(half())
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

        conds, run = kind.local(half()), {"size": (8, 8)}
        whole, kept = kind.sample(conds, **run), []

        def tile(left):
            for control in {cond[0][1]["control"] for cond in conds}:
                assert isinstance(control, T2IAdapter)
                control.cond_hint = control.cond_hint_original[..., :64, left : left + 64].float()
                kept.append(weakref.ref(control.cond_hint))
            return kind.sample(conds, **run)

        expected = kind.sample([cropped(cond, (0, 0, 64, 64)) for cond in conds], **run)
        torch.testing.assert_close(tile(0), expected, **CLOSE)
        assert torch.equal(tile(64), kind.free(**run))
        assert torch.equal(kind.sample(conds, **run), whole)
        gc.collect()
        assert not any(reference() is not None for reference in kept)


def test_a_second_pass_over_larger_latents_keeps_the_region(kind):
    image = torch.full((1, 128, 128, 3), 0.3)
    large = kind.sample(kind.local(half(), image), size=(32, 32))
    image = image.repeat(1, 2, 2, 1)
    expected = kind.sample(kind.local(half((32, 32)), image), size=(32, 32))
    torch.testing.assert_close(large, expected, **CLOSE)


class TestExact:
    """Exact regions: predictions with and without whole control, blended by the mask."""

    def test_a_step_is_that_of_whole_control_inside_and_of_none_outside(self, kind):
        found = kind.sample(kind.local(half(), outside="exact"), steps=1)
        free, whole = kind.free(steps=1), kind.sample(kind.stock(), steps=1)
        assert torch.equal(found[..., 8:], free[..., 8:])
        torch.testing.assert_close(found[..., :8], whole[..., :8], **CLOSE)
        assert not torch.allclose(whole[..., 8:], free[..., 8:])

    def test_a_latent_with_a_black_mask_is_bit_equal_to_no_control(self, kind):
        masks = torch.cat([torch.zeros_like(half()), half()])
        found = kind.sample(kind.local(masks, outside="exact"), batch=2)
        free = kind.free(batch=2)
        assert torch.equal(found[0], free[0])
        assert not torch.allclose(found[1], free[1])
