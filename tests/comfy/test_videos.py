"""Animated masks: one for each frame of a video, whatever looks at them."""

import pytest
import torch
from images import picture
from kinds import windowed
from small_controls import wan

SIZE = 16
FRAMES = 3


@pytest.fixture
def setup():
    return wan()


def moving(frames=FRAMES):
    """White moves from the left half to the right one; nothing is white in the last frame."""
    masks = torch.zeros(frames, 8 * SIZE, 8 * SIZE)
    masks[0, :, : 4 * SIZE] = 1
    masks[1, :, 4 * SIZE :] = 1
    return masks


def sample(model, setup, batch=1, frames=FRAMES, steps=2, prompts=None):
    import comfy.sample

    shape = (batch, 16, frames, SIZE, SIZE)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    prompts = prompts or (setup.text(0), setup.text(1))
    options = {"seed": 0, "disable_pbar": True}
    return comfy.sample.sample(
        model, noise, steps, 2.0, "euler", "simple", *prompts, torch.zeros(shape), **options
    )


def guide(comfy, model, masks, start=0.0):
    reference = torch.randn(1, 16, FRAMES, SIZE, SIZE, generator=torch.Generator().manual_seed(5))
    node = comfy.nodes["LocalControl_EdgeGuidance"]
    return node.execute(model, {"samples": reference}, masks, 1.0, start, 1.0, "sobel").result[0]


def test_guidance_follows_the_mask_of_each_frame(comfy, setup):
    # At the last step alone, after which no frame looks at another.
    guided = guide(comfy, setup.model, moving(), start=0.2)
    free, moved = sample(setup.model, setup, batch=2), sample(guided, setup, batch=2)
    changed = (free - moved).abs().amax(1) > 1e-5  # [B,T,h,w]
    half, beyond = SIZE // 2, 2  # the filter reads one cell beyond the mask
    assert changed[:, 0, :, :half].any()
    assert not changed[:, 0, :, half + beyond :].any()
    assert changed[:, 1, :, half:].any()
    assert not changed[:, 1, :, : half - beyond].any()
    assert not changed[:, 2].any()


def masks_of(comfy, *masks):
    return [comfy.module("local_control.region_mask").RegionMask(mask) for mask in masks]


@pytest.mark.parametrize(("is_anchored", "retained"), [(False, ""), (True, ""), (False, "0")])
@pytest.mark.parametrize("white", range(4))
def test_in_context_windows_each_frame_has_its_own_mask(comfy, setup, white, is_anchored, retained):
    """Two windows of two frames. Anchored, the second one begins with a frame of the first; with
    frame 0 retained, it shows that in place of frame 2, and still predicts frame 2.
    """
    model = windowed(setup.model, 2, dim=2, overlap=0, is_anchored=is_anchored, retained=retained)
    masks = torch.zeros(4, 8 * SIZE, 8 * SIZE)
    masks[white] = 1
    prompts, other = (setup.text(0), setup.text(1)), setup.text(7)
    node = comfy.nodes["LocalControl_GatePredictions"]
    gated, *conds = node.execute(
        model, other, prompts[1], masks, positive_without=prompts[0]
    ).result
    once = {"frames": 4, "steps": 1}
    found = sample(gated, setup, **once, prompts=conds)
    expected = sample(model, setup, **once)
    within = sample(model, setup, **once, prompts=(other, prompts[1]))
    assert not torch.allclose(within[:, :, white], expected[:, :, white])
    expected[:, :, white] = within[:, :, white]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("frames", [1, 6])
def test_masks_of_other_lengths_are_spread_over_the_frames(comfy, frames):
    overlay = comfy.module("nodes.sampler.z0.overlay")
    shares = torch.arange(1.0, frames + 1).view(-1, 1, 1, 1).expand(-1, 1, 8, 8) / frames
    (mask,) = masks_of(comfy, shares)
    placed = overlay.place_mask(mask, torch.zeros(2, 4, FRAMES, 1, 1))
    means = [1, 1, 1] if frames == 1 else [1.5 / 6, 3.5 / 6, 5.5 / 6]
    assert placed.expand(2 * FRAMES, -1, -1, -1)[:, 0, 0, 0].tolist() == pytest.approx(means * 2)


@pytest.mark.parametrize(("first", "count", "shown"), [(1, 2, (1, 2)), (3, 4, (3,)), (0, 4, None)])
@pytest.mark.parametrize("has_window", [False, True])
def test_an_area_of_frames_sees_their_masks(comfy, first, count, shown, has_window):
    view = comfy.module("nodes.sampler.control.view")
    window = view.Window((4, 5, 6, 7), 8, of_frames=True) if has_window else None
    frames = torch.arange(8 if has_window else 4.0)
    (mask,) = masks_of(comfy, frames.view(-1, 1, 1, 1).expand(-1, 1, 8, 8) / len(frames))
    told = {}

    def note(model, conds, x, timestep, options):
        told.update(options["transformer_options"])

    area = {"uuid": "late", "area": (count, SIZE, SIZE, first, 0, 0)}
    view.note_areas(note, None, [[area]], torch.zeros(1, 16, 4, SIZE, SIZE), None, {})
    seen = min(count, 4 - first)
    (found,) = view.views_of((1, 16, seen, SIZE, SIZE), 1, told | {"uuids": ("late",)}, window)
    rows = mask.on_grid((1, 1), found, 1, seen).flatten()
    expected = torch.arange(4.0)[list(shown or range(4))] + (4 if has_window else 0)
    torch.testing.assert_close(rows * len(frames), expected)


def test_frames_become_images_and_frames_again(comfy):
    overlay = comfy.module("nodes.sampler.z0.overlay")
    z0 = torch.randn(2, 4, FRAMES, 6, 5)
    images = overlay.to_frames(z0)
    assert torch.equal(images[FRAMES + 1], z0[1, :, 1])
    assert torch.equal(overlay.from_frames(images, z0), z0)
    assert torch.equal(
        overlay.from_frames(overlay.to_frames(z0[:, :, 0]), z0[:, :, 0]), z0[:, :, 0]
    )


def test_tokens_and_maps_of_a_video_are_gated_by_the_mask_of_their_frame(comfy):
    from comfy.controlnet import ControlBase

    class Everywhere(ControlBase):
        """As a control of a video model would: tokens of patches of 2 x 2, and a map."""

        def copy(self):
            return Everywhere()

        def get_control(self, x, *rest):
            tokens, feature = (
                torch.ones(len(x), FRAMES * 64, 4),
                torch.ones(len(x), 4, FRAMES, 4, 4),
            )
            return {"input": [tokens], "middle": [feature], "output": []}

    gated = comfy.module("nodes.sampler.control.any")
    region = gated.ControlRegion(
        condition=picture().movedim(-1, 1),
        mask=comfy.module("local_control.region_mask").RegionMask(moving()[:, None]),
        control=Everywhere(),
    )
    control = gated.GatedControl(region)
    model = torch.nn.Module()
    model.manual_cast_dtype = torch.float32
    control.pre_run(model, lambda percent: 1 - percent)
    x = torch.zeros(2, 16, FRAMES, SIZE, SIZE)
    out = control.get_control(x, torch.tensor([0.5, 0.5]), {}, 2, {})
    tokens = out["input"][0].unflatten(1, (FRAMES, 8, 8))[..., 0]
    feature = out["middle"][0][:, 0]
    for found in (tokens, feature):
        half = found.shape[-1] // 2
        assert found[:, 0, :, :half].all()
        assert not found[:, 0, :, half:].any()
        assert found[:, 1, :, half:].all()
        assert not found[:, 1, :, :half].any()
        assert not found[:, 2].any()
