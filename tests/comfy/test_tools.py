"""PreviewRegions, EdgeGuidance and Score in ComfyUI."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from adapters import make_setup
from controls import apply, prompts, region
from controls import sample as sample_regions
from images import picture
from PIL import Image
from small_controls import BUILDERS
from small_models import build_model, conditioning

SIZE = 16


def mask_of(box, side=128):
    mask = torch.zeros(1, side, side)
    top, left, bottom, right = box
    mask[:, top:bottom, left:right] = 1
    return mask


class TestPreviewRegions:
    def preview(self, comfy, regions, width=128, height=128, **inputs):
        node = comfy.nodes["LocalControl_PreviewRegions"]
        return node.execute(width, height, regions, **inputs).result

    def test_one_picture_for_the_outlines_and_one_for_each_grid(self, comfy):
        setup = make_setup(comfy, "sd15")
        left, right = mask_of((0, 0, 128, 64)), mask_of((0, 64, 128, 128))
        regions = region(setup, right, regions=region(setup, left))
        pictures, warnings = self.preview(comfy, regions)
        assert pictures.shape == (5, 128, 128, 3)
        assert warnings == ""
        red, blue = torch.tensor([0.9, 0.24, 0.24]), torch.tensor([0.24, 0.63, 0.98])
        for grid in pictures[1:]:
            colours = grid[:, :64].mean((0, 1)), grid[:, 64:].mean((0, 1))
            for colour, own, other in zip(colours, (red, blue), (blue, red), strict=True):
                assert (colour - own).norm() < (colour - other).norm()

    def test_cells_are_those_that_sampling_gates_by(self, comfy):
        setup = make_setup(comfy, "sd15")
        dot = mask_of((40, 72, 44, 76))
        pictures, _ = self.preview(comfy, region(setup, dot), image=torch.zeros(1, 64, 64, 3))
        for cell, grid in zip((8, 16, 32, 64), pictures[1:], strict=True):
            lit = grid.amax(-1) > 0
            top, left = 40 // cell * cell, 72 // cell * cell
            assert lit[top : top + cell, left : left + cell].all()
            assert lit.sum() == cell**2
            assert grid.amax() == pytest.approx(0.6 * 0.902 * 16 / cell**2, abs=1e-3)

    def test_a_huge_frame_is_drawn_as_far_as_it_can_be_seen_and_warned_of_as_it_is(self, comfy):
        setup = make_setup(comfy, "sd15")
        thin = torch.zeros(1, 2048, 2048)
        thin[..., 3:4] = 1
        image = torch.zeros(1, 2048, 2048, 3)
        (regions,) = comfy.nodes["LocalControl_Region"].execute(setup.control, image, thin).result
        few, many = (self.preview(comfy, regions, side, side) for side in (2048, 16384))
        assert few[0].shape == many[0].shape == (5, 1024, 1024, 3)
        assert "of the 256 x 256 grid" in few[1]
        assert "of the 2048 x 2048 grid" not in many[1]  # where the line is eight pixels wide

    def test_without_regions_it_says_so(self, comfy):
        pictures, warnings = self.preview(comfy, ())
        assert pictures.shape == (1, 128, 128, 3)
        assert warnings == ""

    def test_frames_too_long_to_be_drawn_are_named(self, comfy):
        regions = region(make_setup(comfy, "sd15"), mask_of((0, 0, 64, 64)))
        with pytest.raises(ValueError, match="The size of Preview Regions is 16384 x 64, and long"):
            self.preview(comfy, regions, 16384, 64)
        assert self.preview(comfy, regions, 4096, 64)[0].shape[1:3] == (16, 1024)

    def test_without_regions_the_picture_is_shown(self, comfy):
        pictures, _ = self.preview(comfy, (), image=torch.ones(1, 8, 8, 3))
        assert pictures.min() == 1

    def test_a_picture_can_lie_below(self, comfy):
        setup = make_setup(comfy, "sd15")
        regions = region(setup, mask_of((0, 0, 64, 64)))
        white = torch.ones(1, 32, 32, 3)
        (outline, *grids), _ = self.preview(comfy, regions, image=white)
        assert outline[100, 100].min() > 0.5
        assert all(grid[100, 100].min() > 0.2 for grid in grids)

    def test_captions_tell_levels_of_adapters_and_cells(self, comfy):
        preview = comfy.module("nodes.preview_regions")
        (adapter,) = region(make_setup(comfy, "sd15"), mask_of((0, 0, 64, 64)))
        (other,) = (
            comfy.nodes["LocalControl_Region"]
            .execute(BUILDERS["flux"]().control, picture(), mask_of((0, 0, 64, 64)))
            .result[0]
        )
        assert preview.name_grid([adapter], 32, (128, 96)) == "Level 3: 3 x 4 cells"
        assert preview.name_grid([other], 16, (128, 96)) == "6 x 8 cells"

    def test_a_thin_mask_is_named_with_its_region_and_grid(self, comfy):
        setup = make_setup(comfy, "sd15")
        thin = mask_of((60, 0, 62, 128))
        regions = region(setup, thin, regions=region(setup, mask_of((0, 0, 64, 64))))
        pictures, warnings = self.preview(comfy, regions)
        assert "Region 2 fills no cell of the 8 x 8 grid" in warnings
        assert "Region 1" not in warnings
        # It is written into the picture, too, where the thin region is not.
        assert pictures[0, 100:].amax() > 0.8

    def test_a_latent_gives_the_size_by_the_factor_that_it_tells_or_8(self, comfy):
        setup = make_setup(comfy, "sd15")
        node = comfy.nodes["LocalControl_PreviewRegions"]
        regions = region(setup, mask_of((0, 0, 64, 64)))
        latent = {"samples": torch.zeros(1, 4, 12, 16)}
        for told, size in (({}, (96, 128)), ({"downscale_ratio_spacial": 16}, (192, 256))):
            pictures = node.execute(512, 512, regions, latent | told).result[0]
            assert pictures.shape[1:3] == size
        with pytest.raises(ValueError, match=r"Preview Regions cannot act .* 64 channels of 215"):
            node.execute(512, 512, regions, {"samples": torch.zeros(1, 64, 215)})

    def test_other_controls_are_shown_too(self, comfy):
        setup = BUILDERS["flux"]()
        node = comfy.nodes["LocalControl_Region"]
        regions = node.execute(setup.control, picture(), mask_of((0, 0, 64, 64))).result[0]
        # Outlines, and the one grid of its tokens.
        assert self.preview(comfy, regions, 160, 96)[0].shape == (2, 96, 160, 3)


class NoVae:
    """What nodes take for a VAE."""

    def encode(self, pixels):
        raise AssertionError("it was not to be asked")

    def decode(self, samples):
        raise AssertionError("it was not to be asked")


class TestEdgeGuidance:
    def sample(self, model, channels=4, frames=(), side=SIZE):
        import comfy.sample

        generator = torch.Generator().manual_seed(3)
        noise = torch.randn(1, channels, *frames, side, side, generator=generator)
        return comfy.sample.sample(
            model,
            noise,
            4,
            2.0,
            "euler",
            "simple",
            conditioning(0) if channels == 4 else BUILDERS["qwen"]().text(0),
            conditioning(1) if channels == 4 else BUILDERS["qwen"]().text(1),
            torch.zeros_like(noise),
            seed=0,
            disable_pbar=True,
        )

    def guide(self, comfy, model, mask, reference, **kwargs):
        options = {"scale": 1.0, "start_percent": 0.0, "end_percent": 1.0, "edge": "sobel"}
        node = comfy.nodes["LocalControl_EdgeGuidance"]
        arguments = options | kwargs
        return node.execute(model, {"samples": reference}, mask, **arguments).result[0]

    @pytest.fixture
    def reference(self):
        return torch.randn(1, 4, SIZE, SIZE, generator=torch.Generator().manual_seed(5))

    @pytest.mark.parametrize("prediction", ["EPS", "V_PREDICTION", "FLOW"])
    @pytest.mark.parametrize("edge", ["sobel", "sobel_gradients", "laplacian"])
    def test_edges_come_closer_inside(self, comfy, reference, prediction, edge):
        guidance = comfy.module("local_control.steering")
        model, mask = build_model("sd15", prediction), mask_of((0, 0, 128, 64))
        target = model.model.latent_format.process_in(reference)

        def error(latent):
            seen = model.model.latent_format.process_in(latent)
            return guidance.edge_loss(seen, target, mask[:, None], edge).item()

        free = self.sample(model)
        guided = self.sample(self.guide(comfy, model, mask, reference, edge=edge))
        assert error(guided) < 0.7 * error(free)

    def test_scale_zero_and_the_model_given_are_untouched(self, comfy, reference):
        model, mask = build_model("sd15"), mask_of((0, 0, 128, 64))
        free = self.sample(model)
        assert torch.equal(self.sample(self.guide(comfy, model, mask, reference, scale=0.0)), free)
        self.sample(self.guide(comfy, model, mask, reference))
        assert torch.equal(self.sample(model), free)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_half_precision_gives_what_fp32_gives(self, comfy, reference, dtype):
        model, mask, reference = build_model("sd15"), mask_of((0, 0, 128, 64)), reference.to(dtype)
        half = self.guide(comfy, model, mask.to(dtype), reference)
        full = self.guide(comfy, model, mask, reference.float())
        assert torch.equal(self.sample(half), self.sample(full))

    def test_latents_with_frames_are_guided(self, comfy):
        setup = BUILDERS["qwen"]()
        reference = torch.randn(1, 16, 1, SIZE, SIZE)
        guided = self.guide(comfy, setup.model, mask_of((0, 0, 64, 128)), reference)
        free, moved = (self.sample(m, 16, (1,)) for m in (setup.model, guided))
        assert moved.isfinite().all()
        assert not torch.equal(free, moved)

    def test_its_range_is_that_of_the_model_sampled_whatever_nodes_follow(self, comfy, reference):
        import comfy_extras.nodes_model_advanced as advanced

        def shifted(model):
            return advanced.ModelSamplingSD3().patch(model, 12.0)[0]

        model, mask = build_model("sd15", "FLOW"), mask_of((0, 0, 128, 64))
        span = {"start_percent": 0.3, "end_percent": 0.6}
        before = shifted(self.guide(comfy, model, mask, reference, **span))
        after = self.guide(comfy, shifted(model), mask, reference, **span)
        free = self.sample(shifted(model))
        assert torch.equal(self.sample(before), self.sample(after))
        assert not torch.equal(self.sample(after), free)

    def test_it_adds_to_an_adapter(self, comfy, reference):
        setup = make_setup(comfy, "sd15")
        mask = mask_of((0, 0, 128, 64))
        conds = apply(setup, region(setup, mask))
        guided = self.guide(comfy, setup.model, mask, reference)
        target = setup.model.model.latent_format.process_in(reference)
        guidance = comfy.module("local_control.steering")

        def error(latent):
            seen = setup.model.model.latent_format.process_in(latent)
            return guidance.edge_loss(seen, target, mask[:, None], "sobel").item()

        alone = sample_regions(setup, *conds)
        both = sample_regions(setup, *conds, model=guided)
        assert error(both) < 0.7 * error(alone)
        assert not torch.equal(both, sample_regions(setup, *prompts(setup), model=guided))

    def test_it_is_about_as_strong_at_twice_the_size(self, comfy):
        """A random model's own results differ, so it is compared with where they started."""
        guidance = comfy.module("local_control.steering")
        ratios = []
        for side in (16, 32):
            generator = torch.Generator().manual_seed(5)
            reference = torch.randn(1, 4, side, side, generator=generator)
            model, mask = build_model("sd15"), mask_of((0, 0, 128, 64))
            target = model.model.latent_format.process_in(reference)
            errors = []
            for found in (model, self.guide(comfy, model, mask, reference)):
                seen = model.model.latent_format.process_in(self.sample(found, side=side))
                errors.append(guidance.edge_loss(seen, target, mask[:, None], "sobel").item())
            ratios.append(errors[1] / errors[0])
        assert ratios[0] < 0.7
        assert ratios[1] == pytest.approx(ratios[0], rel=0.35)

    def test_gray_and_half_pictures_are_followed_as_any(self, comfy):
        shown = []

        class Vae(NoVae):
            def encode(self, pixels):
                shown.append(pixels)
                return torch.zeros(1, 4, SIZE, SIZE)

        node = comfy.nodes["LocalControl_EdgeGuidance"]
        image = torch.rand(1, 8 * SIZE, 8 * SIZE, 1)
        for one in (image, image.expand(-1, -1, -1, 3), image.half()):
            node.execute(build_model("sd15"), None, mask_of((0, 0, 64, 64)), image=one, vae=Vae())
        assert all(one.shape == (1, 8 * SIZE, 8 * SIZE, 3) for one in shown)
        assert torch.equal(shown[0], shown[1])
        torch.testing.assert_close(shown[2], shown[0], atol=1e-3, rtol=0)

    def test_pictures_too_small_or_too_many_are_named(self, comfy):
        class Vae(NoVae):
            def encode(self, pixels):
                return torch.zeros(len(pixels), 4, SIZE, SIZE)

        node, model = comfy.nodes["LocalControl_EdgeGuidance"], build_model("sd15")
        mask = mask_of((0, 0, 64, 64))
        with pytest.raises(ValueError, match="image of Edge Guidance is 128 x 2, but it must"):
            node.execute(model, None, mask, image=torch.ones(1, 2, 128, 3), vae=Vae())
        image = torch.ones(3, 128, 128, 3)
        guided = node.execute(model, None, mask, image=image, vae=Vae()).result[0]
        with pytest.raises(ValueError, match="There are 3 references for 1 latent"):
            self.sample(guided)

    def test_regions_with_other_numbers_of_pictures_are_named(self, comfy):
        setup = make_setup(comfy, "sd15")
        white = mask_of((0, 0, 128, 128))
        node = comfy.nodes["LocalControl_Region"]
        regions = ()
        for count in (2, 3):
            regions = node.execute(
                setup.control, picture(batch=count), white, regions=regions
            ).result[0]
        guide = comfy.nodes["LocalControl_EdgeGuidance"]
        with pytest.raises(ValueError, match="There are 2 conditions for 3 pictures"):
            guide.execute(build_model("sd15"), regions=regions, vae=NoVae())

    def test_what_does_not_fit_is_named(self, comfy, reference):
        model = build_model("sd15")
        with pytest.raises(ValueError, match="all black"):
            self.guide(comfy, model, torch.zeros(1, 128, 128), reference)
        small = self.guide(comfy, model, torch.ones(1, 128, 128), reference[..., :8])
        with pytest.raises(ValueError, match="encode a picture of the result's size"):
            self.sample(small)


class TestScore:
    def score(self, comfy, image, condition, mask, uncontrolled=None, **kwargs):
        options = {
            "kind": "edges",
            "tolerance": 2,
            "low_threshold": 100,
            "high_threshold": 200,
            "blur": 0.0,
        }
        node = comfy.nodes["LocalControl_Score"]
        arguments = options | {"blocks": 8} | kwargs
        return node.execute(image, condition, mask, uncontrolled=uncontrolled, **arguments).result

    @pytest.fixture
    def scene(self, comfy):
        image = mask_of((32, 32, 96, 96))[..., None].expand(-1, -1, -1, 3).contiguous()
        edges = (
            comfy.nodes["LocalControl_Condition"]
            .execute(image, "canny", 100, 200, 0.0, 8)
            .result[0]
        )
        return image, edges

    def test_the_picture_of_the_condition_scores_one(self, comfy, scene):
        image, edges = scene
        f1, precision, recall, leak, change, report, text = self.score(
            comfy, image, edges, torch.ones(1, 128, 128)
        )
        assert (f1, precision, recall) == (1, 1, 1)
        assert math.isnan(leak)
        assert math.isnan(change)
        assert report.shape == image.shape
        assert "adherence: 1.000" in text
        # Green where edges match, and neither red nor blue.
        assert report[..., 1].max() == 1
        assert report[..., 0].max() < 0.2

    def test_a_blank_picture_scores_zero_and_what_is_missing_is_red(self, comfy, scene):
        image, edges = scene
        result = self.score(comfy, torch.zeros_like(image), edges, torch.ones(1, 128, 128))
        assert result[0] == 0
        assert result[5][..., 0].max() == 1

    def test_change_is_measured_against_the_uncontrolled_picture(self, comfy, scene):
        image, edges = scene
        mask = mask_of((0, 0, 128, 64))
        changed = image.clone()
        changed[:, :, :64] = 1 - changed[:, :, :64]
        assert self.score(comfy, changed, edges, mask, image)[3:5] == (0, 0)
        changed[:, :, 64:] = 1 - changed[:, :, 64:]
        assert self.score(comfy, changed, edges, mask, image)[3:5] == (1, 1)

    def test_colours_are_compared_by_block(self, comfy, scene):
        image, _ = scene
        ones = torch.ones(1, 128, 128)
        assert self.score(comfy, image, image, ones, kind="colour")[0] == 1
        assert self.score(comfy, 1 - image, image, ones, kind="colour")[0] == pytest.approx(0)

    @pytest.mark.parametrize("kind", ["edges", "colour"])
    def test_a_mask_without_an_inside_is_refused(self, comfy, scene, kind):
        image, edges = scene
        white, black = torch.ones(1, 128, 128), torch.zeros(1, 128, 128)
        for mask in (black, torch.cat([white, black])):
            images = image.expand(len(mask), -1, -1, -1)
            with pytest.raises(ValueError, match="mask of Local Control Score is all black"):
                self.score(comfy, images, edges, mask, kind=kind)

    def test_a_mask_of_gray_has_an_inside_for_colours_alone(self, comfy, scene):
        image, edges = scene
        gray = torch.full((1, 128, 128), 0.3)
        assert self.score(comfy, image, image, gray, kind="colour")[0] == 1
        with pytest.raises(ValueError, match="nearly so"):
            self.score(comfy, image, edges, gray)

    def test_other_numbers_of_pictures_are_named(self, comfy, scene):
        image, edges = scene
        two, white = image.expand(2, -1, -1, -1), torch.ones(1, 128, 128)
        with pytest.raises(ValueError, match=r"3 masks for 2 images; .* each image"):
            self.score(comfy, two, edges, white.expand(3, -1, -1))
        with pytest.raises(ValueError, match="2 conditions for 1 image; "):
            self.score(comfy, image, edges.expand(2, -1, -1, -1), white)

    def test_condition_and_mask_of_another_size_are_laid_over_the_image(self, comfy, scene):
        image, edges = scene
        mask = mask_of((0, 0, 128, 64))
        blank = torch.zeros_like(image)
        for scale in (0.5, 1.5, 3, 4):  # edges are one pixel wide
            size = (round(128 * scale), round(128 * scale))
            large = F.interpolate(image.movedim(-1, 1), size, mode="nearest-exact")
            drawn = (
                comfy.nodes["LocalControl_Condition"]
                .execute(large.movedim(1, -1), "canny", 100, 200, 0.0, 8)
                .result[0]
            )
            covering = F.interpolate(mask[:, None], size, mode="nearest-exact")[:, 0]
            assert self.score(comfy, image, drawn, covering)[:3] == (1, 1, 1)
            assert self.score(comfy, blank, drawn, covering)[0] == 0
        wide = F.pad(edges, (0, 0, 64, 64))  # what sampling cuts off at both sides
        assert self.score(comfy, image, wide, mask)[:3] == (1, 1, 1)

    def test_the_words_ask_for_an_uncontrolled_image_where_it_lacks_alone(self, comfy, scene):
        image, edges = scene
        white, left = torch.ones(1, 128, 128), mask_of((0, 0, 128, 64))
        for mask in (white, left):
            text = self.score(comfy, image, edges, mask)[-1]
            assert "Changed outside: needs an uncontrolled image" in text
        text = self.score(comfy, image, edges, white, image)[-1]
        assert "Changed outside: nothing to measure" in text
        assert "Changed outside: 0%" in self.score(comfy, image, edges, left, image)[-1]

    def test_an_uncontrolled_image_of_another_size_is_refused(self, comfy, scene):
        image, edges = scene
        white = torch.ones(1, 128, 128)
        with pytest.raises(ValueError, match="uncontrolled image is 64 x 128, but the image is"):
            self.score(comfy, image, edges, white, image[:, :, :64])


class TestCompare:
    def saved(self, comfy, image, **inputs):
        node = comfy.prepared("LocalControl_Compare")
        (shown,) = node.execute(image, **inputs).ui["local_control_comparison"]
        import folder_paths

        folder = Path(folder_paths.get_temp_directory())
        return {
            side: np.asarray(
                Image.open(folder / shown[side]["subfolder"] / shown[side]["filename"])
            )
            for side in ("with", "without")
            if side in shown
        }

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_shows_what_fp32_shows(self, comfy, dtype):
        image = picture(seed=4)
        full, half = (self.saved(comfy, one, uncontrolled=one) for one in (image, image.to(dtype)))
        for side in ("with", "without"):
            assert abs(full[side].astype(int) - half[side]).max() <= 1

    def test_gray_pictures_and_those_with_alpha_are_shown(self, comfy):
        gray = picture(seed=4)[..., :1]
        alpha = torch.cat([gray, gray, gray, torch.zeros_like(gray)], -1)
        shown = [self.saved(comfy, one)["with"] for one in (gray, alpha)]
        assert (shown[0] == shown[1]).all()
