"""Preview z0': pictures of z0' on the node, in ComfyUI's own samplers."""

import numpy as np
import pytest
import torch
from adapters import make_setup
from controls import region
from images import left, picture
from small_models import FAMILIES, build_model
from watched import (
    SIZE,
    VideoDecoder,
    frames,
    sample_model,
    sample_video,
    shown_pictures,
    small_vae,
)

SAMPLERS = ["euler", "heun", "dpmpp_2m", "dpmpp_sde", "ddim", "uni_pc"]
SAMPLERS += ["dpm_2", "seeds_3", "sa_solver_pece"]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_gives_one_frame_a_step(comfy, watch, model, sampler):
    watched, trace, shown = watch(model)
    samples = sample_model(watched, sampler=sampler)
    assert len(trace.samplings[-1].frames) == 4
    # The last step twice: as it is done, and with its picture.
    assert [value for value, _, _ in shown] == [1, 2, 3, 4, 4]
    assert {total for _, total, _ in shown} == {4}
    assert frames(comfy, trace, samples)[0].shape == (4, 8 * SIZE, 8 * SIZE, 3)


@pytest.mark.parametrize("sampler", ["dpm_fast", "dpm_adaptive"])
def test_samplers_that_choose_their_steps_give_a_frame_each_and_the_last_picture_once(
    comfy, watch, model, sampler
):
    seen = []
    watched, trace, shown = watch(model, every=1000)
    samples = sample_model(
        watched, sampler=sampler, steps=5, callback=lambda step, x0, x, total: seen.append(step)
    )
    assert len(trace.samplings[-1].frames) == len(seen) != 5
    assert sum(image is not None for _, _, image in shown) <= 2  # the first and the last
    assert shown[-1][2] is not None
    assert trace.sampling_of(samples)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_previewed(comfy, watch, family):
    channels = FAMILIES[family].latent_channels
    watched, trace, shown = watch(build_model(family))
    sample_model(watched, steps=2, channels=channels)
    assert len(trace.samplings[-1].frames) == 2
    assert shown[-1][2] is not None


def test_watching_changes_neither_the_result_nor_the_model(watch, model):
    plain = sample_model(model)
    watched, _, _ = watch(model)
    assert torch.equal(sample_model(watched), plain)
    assert torch.equal(sample_model(model), plain)
    assert not model.wrappers


def test_the_preview_is_of_the_whole_batch(watch, model):
    watched, trace, shown = watch(model)
    sample_model(watched, batch=3)
    kind = shown[-1][2][0]
    assert kind == "JPEG"
    assert shown_pictures(shown)[-1].size == (2 * 8 * SIZE, 2 * 8 * SIZE)  # a grid, not a row
    assert trace.samplings[-1].frames[0].shape[0] == 3


def test_the_last_picture_is_always_shown(watch, model):
    watched, _, shown = watch(model, every=100)
    sample_model(watched)
    assert shown[-1][0] == 4
    assert shown[-1][2] is not None


def test_outlines_of_regions_are_drawn(comfy, watch, model):
    setup = make_setup(comfy, "sd15")
    mask = torch.zeros(1, 8 * SIZE, 8 * SIZE)
    mask[:, 32:96, 32:96] = 1
    plain, outlined = [], []
    for found, regions in ((plain, ()), (outlined, region(setup, mask))):
        watched, _, shown = watch(model, regions=regions)
        shown.clear()
        sample_model(watched)
        found.append(np.asarray(shown_pictures(shown)[-1]).astype(int))
    changed = np.abs(plain[0] - outlined[0]).sum(-1) > 0
    assert changed[32, 40:90].all()
    assert not changed[:28].any()
    assert not changed[60:70, 60:70].any()


@pytest.mark.parametrize("part", ["positive", "negative"])
def test_one_prompts_prediction_can_be_shown_alone(watch, model, part):
    watched, trace, shown = watch(model, part=part)
    samples = sample_model(watched)
    alone = shown_pictures(shown)[-1]
    shown.clear()
    both, _, _ = watch(model)
    assert torch.equal(sample_model(both), samples)
    assert np.asarray(alone).tobytes() != np.asarray(shown_pictures(shown)[-1]).tobytes()
    assert len(trace.samplings[-1].frames) == 4


@pytest.mark.parametrize("part", ["positive", "negative"])
def test_without_a_second_prompt_the_result_is_shown(watch, model, part):
    watched, _, shown = watch(model, part=part)
    samples = sample_model(watched, cfg=1.0)
    alone = shown_pictures(shown)[-1]
    shown.clear()
    both, _, _ = watch(model)
    assert torch.equal(sample_model(both, cfg=1.0), samples)
    assert np.asarray(alone).tobytes() == np.asarray(shown_pictures(shown)[-1]).tobytes()


def test_each_image_of_a_batch_has_the_outline_of_its_own_mask(comfy, watch, model):
    masks = torch.zeros(2, 8 * SIZE, 8 * SIZE)
    masks[0, 8:40, 8:40] = 1
    masks[1, 88:120, 88:120] = 1
    regions = region(make_setup(comfy, "sd15"), masks)
    shown_with = []
    for given in ((), regions):
        watched, _, shown = watch(model, regions=given)
        shown.clear()
        sample_model(watched, batch=2)
        shown_with.append(np.asarray(shown_pictures(shown)[-1]).astype(int))
    changed = np.abs(shown_with[0] - shown_with[1]).sum(-1) > 0
    first, second = changed[:, : 8 * SIZE], changed[:, 8 * SIZE :]
    assert first[:64, :64].any()
    assert not first[64:].any()
    assert second[64:, 64:].any()
    assert not second[:64].any()


def test_the_edge_error_against_a_reference_is_written_into_the_corner(comfy, watch, model):
    reference = {"samples": torch.randn(1, 4, SIZE, SIZE)}
    seen = []
    for given in (None, reference):
        watched, _, shown = watch(model, reference=given)
        shown.clear()
        samples = sample_model(watched)
        seen.append(np.asarray(shown_pictures(shown)[-1]).astype(int))
    assert torch.equal(samples, sample_model(model))
    changed = np.abs(seen[0] - seen[1]).sum(-1) > 0
    assert changed[-16:].any()
    assert not changed[:-48].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_half_and_double_precision_give_what_fp32_gives(comfy, watch, model, dtype):
    samples = torch.randn(1, 4, SIZE, SIZE).to(dtype)
    image, mask = picture().to(dtype), left().to(dtype)
    seen = []
    for kind in (dtype, torch.float32):
        regions = region(make_setup(comfy, "sd15"), mask.to(kind), image.to(kind))
        watched, _, shown = watch(
            model, regions=regions, reference={"samples": samples.to(kind)}, vae=small_vae()
        )
        shown.clear()
        sample_model(watched)
        seen.append(shown_pictures(shown)[-1].tobytes())
    half, full = seen
    assert half == full


def test_a_reference_of_another_size_is_named(watch, model):
    watched, _, _ = watch(model, reference={"samples": torch.zeros(1, 4, SIZE, 4)})
    with pytest.raises(ValueError, match=r"reference of Preview z0' is .* pixels"):
        sample_model(watched)


def test_a_vae_decodes_the_preview(watch, model):
    watched, _, shown = watch(model, vae=small_vae())
    sample_model(watched)
    assert shown_pictures(shown)[-1].size == (8 * SIZE, 8 * SIZE)


@pytest.mark.parametrize("vae", [None, VideoDecoder()])
def test_videos_are_previewed_by_their_first_frames_with_its_mask(comfy, watch, video, vae):
    masks = torch.zeros(3, 8 * SIZE, 8 * SIZE)
    masks[0, 8:40, 8:40] = 1
    masks[1:, 88:120, 88:120] = 1
    regions = region(make_setup(comfy, "sd15"), masks)
    seen = []
    for given in ((), regions):
        watched, trace, shown = watch(video.model, vae=vae, regions=given)
        shown.clear()
        sample_video(watched, video, batch=2)
        seen.append(np.asarray(shown_pictures(shown)[-1]).astype(int))
    assert trace.samplings[-1].frames[0].shape == (2, 16, 3, SIZE, SIZE)
    assert seen[0].shape == (8 * SIZE, 2 * 8 * SIZE, 3)
    changed = np.abs(seen[0] - seen[1]).sum(-1) > 0
    assert changed[:64, :64].any()
    assert not changed[64:].any()


def test_the_servers_own_preview_still_runs(watch, model):
    seen = []
    watched, _, _ = watch(model)
    sample_model(watched, callback=lambda step, x0, x, total: seen.append(step))
    assert seen == [0, 1, 2, 3]
