"""z0' Frames: z0' of every step after sampling, and which samplings are known."""

import gc
import json
import threading

import pytest
import torch
from adapters import make_setup
from controls import region
from images import left
from small_models import build_model, conditioning
from watched import (
    SIZE,
    VideoDecoder,
    frames,
    prompt,
    sample_model,
    sample_video,
    shown_pictures,
    small_vae,
)


@pytest.mark.parametrize("prediction", ["EPS", "V_PREDICTION", "FLOW", "EDM"])
def test_the_last_frame_is_the_result_for_every_prediction_type(comfy, watch, prediction):
    watched, trace, _ = watch(build_model("sd15", prediction))
    samples = sample_model(watched)
    latents = frames(comfy, trace, samples)[1]["samples"]
    torch.testing.assert_close(latents[-1:], samples, rtol=1e-3, atol=1e-3)


def test_errors_are_those_of_the_curve(comfy, watch, model):
    z0 = comfy.module("nodes.z0_preview")
    watched, trace, _ = watch(model)
    samples = sample_model(watched)
    reference = {"samples": torch.randn(1, 4, SIZE, SIZE)}
    regions = region(make_setup(comfy, "sd15"), left())
    node = comfy.nodes["LocalControl_Z0Frames"]
    numbers = node.execute({"samples": samples}, trace, None, regions, reference).result[3]
    compared = z0.Overlay(reference["samples"], [regions[0].mask], "Preview z0'")
    frames = trace.samplings[-1].frames
    measure = z0.error_of(compared, model.model.latent_format, frames[0])
    for side in ("inside", "outside"):
        found = [getattr(measure(frame), side)[0] for frame in frames]
        assert found == json.loads(numbers)[side]


def test_frames_of_videos_are_images_in_a_row(comfy, watch, video):
    watched, trace, _ = watch(video.model)
    samples = sample_video(watched, video)
    images, latents, *_ = frames(comfy, trace, samples, VideoDecoder())
    assert images.shape == (2 * 3 * 4, 8 * SIZE, 8 * SIZE, 3)
    assert latents["samples"].shape == (2, 16, 3, SIZE, SIZE)
    assert frames(comfy, trace, samples)[0].shape == (2, 8 * SIZE, 8 * SIZE, 3)


def test_frames_of_a_batch_stand_together_by_image(comfy, watch, model):
    watched, trace, _ = watch(model)
    samples = sample_model(watched, batch=2)
    latents = frames(comfy, trace, samples)[1]["samples"]
    assert len(latents) == 8
    torch.testing.assert_close(latents[3], samples[0], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(latents[7], samples[1], rtol=1e-3, atol=1e-3)


def test_a_second_run_forgets_the_first(comfy, watch, model):
    watched, trace, _ = watch(model)
    sample_model(watched, steps=4)
    samples = sample_model(watched, steps=3)
    assert len(trace.samplings[-1].frames) == 3
    assert len(frames(comfy, trace, samples)[0]) == 3


def test_frames_without_a_run_or_of_another_run_are_refused(comfy, watch, model):
    watched, trace, _ = watch(model)
    with pytest.raises(ValueError, match="trace is empty"):
        frames(comfy, trace, torch.zeros(1, 4, SIZE, SIZE))
    samples = sample_model(watched)
    with pytest.raises(ValueError, match="of other samplings"):
        frames(comfy, trace, samples + 1)


def test_frames_of_a_result_from_the_cache_are_found_after_another_run(comfy, watch, model):
    watched, trace, _ = watch(model)
    first, second = sample_model(watched, cfg=3.0), sample_model(watched, cfg=1.5)
    for samples in (first, second):
        last = frames(comfy, trace, samples)[1]["samples"][-1:]
        torch.testing.assert_close(last, samples, rtol=1e-3, atol=1e-3)


def test_of_earlier_prompts_a_few_samplings_are_kept(comfy, watch, model):
    watched, trace, _ = watch(model)
    results = []
    for number in range(7):
        with prompt(number):
            results.append(sample_model(watched, steps=1, cfg=1 + number))
    assert len(trace.samplings) == 5
    assert len(frames(comfy, trace, results[2])[0]) == 1
    with pytest.raises(ValueError, match="of other samplings"):
        frames(comfy, trace, results[1])


def test_a_list_of_any_length_has_frames_for_each(comfy, watch, model):
    watched, trace, _ = watch(model)
    with prompt(1):
        results = [sample_model(watched, steps=2, cfg=1 + i) for i in range(9)]
        for samples in results:
            last = frames(comfy, trace, samples)[1]["samples"][-1:]
            torch.testing.assert_close(last, samples, rtol=1e-3, atol=1e-3)


def test_samplings_beyond_what_memory_allows_are_named(comfy, watch, model, monkeypatch):
    watched, trace, _ = watch(model)
    # A step has 4 bytes of 4 channels.
    monkeypatch.setattr(comfy.module("nodes.sampler.z0.trace"), "KEPT_BYTES", 4 * 4 * 4 * SIZE**2)
    first, second = sample_model(watched, cfg=3.0), sample_model(watched, cfg=1.5)
    assert len(frames(comfy, trace, second)[0]) == 4
    with pytest.raises(ValueError, match="has let go of the steps"):
        frames(comfy, trace, first)


def guided(model, sampler, sigmas):
    """What SamplerCustomAdvanced gives."""
    from comfy_extras import nodes_custom_sampler as custom

    guider = custom.CFGGuider.execute(model, conditioning(0), conditioning(1), 2.0).result[0]
    noise = custom.RandomNoise.execute(3).result[0]
    latent = {"samples": torch.zeros(1, 4, SIZE, SIZE)}
    found = custom.SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent)
    return found.result[0]["samples"]


def test_frames_of_latents_that_grow_while_sampling_are_as_large_as_the_last(comfy, watch, model):
    from comfy.samplers import KSampler
    from comfy_extras.nodes_advanced_samplers import SamplerLCMUpscale

    reference = {"samples": torch.randn(1, 4, SIZE, SIZE)}
    watched, trace, shown = watch(
        model, reference=reference, regions=region(make_setup(comfy, "sd15"), left())
    )
    (upscale,) = SamplerLCMUpscale.execute(2.0, 2, "bislerp").result
    samples = guided(watched, upscale, KSampler(model, 4, "cpu").sigmas)
    assert samples.shape == (1, 4, 2 * SIZE, 2 * SIZE)
    assert [frame.shape[-1] // 8 for frame in trace.samplings[-1].frames] == [2, 3, 4, 4]
    images, latents, _, numbers = frames(comfy, trace, samples)
    assert images.shape == (4, 16 * SIZE, 16 * SIZE, 3)
    torch.testing.assert_close(latents["samples"][-1:], samples, rtol=1e-3, atol=1e-3)
    assert json.loads(numbers)["inside"][0] > 0
    assert shown_pictures(shown)[-1].size == (16 * SIZE, 16 * SIZE)


def test_a_sampling_without_steps_is_named_by_its_cause(comfy, watch, model):
    from comfy.samplers import sampler_object

    watched, trace, _ = watch(model)
    samples = sample_model(watched, denoise=0.0)
    with pytest.raises(ValueError, match="a denoise above 0"):
        frames(comfy, trace, samples)
    sample_model(watched)
    with pytest.raises(ValueError, match="a denoise above 0"):
        frames(comfy, trace, samples)
    samples = guided(watched, sampler_object("euler"), torch.tensor([0.5]))
    with pytest.raises(ValueError, match="had no steps"):
        frames(comfy, trace, samples)


def test_without_a_trace_the_pictures_say_so(comfy):
    latent = {"samples": torch.zeros(1, 4, SIZE, SIZE)}
    images, latents, chart, numbers = comfy.call("LocalControl_Z0Frames", latent=latent)
    assert images.shape == chart.shape == (1, 320, 512, 3)
    assert images.max() > 0.8
    assert latents is latent
    assert json.loads(numbers) == {"inside": [], "outside": []}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_half_precision_gives_what_fp32_gives(comfy, watch, model, dtype):
    watched, trace, _ = watch(model)
    samples = sample_model(watched)
    white = left().to(dtype)
    reference = torch.randn(1, 4, SIZE, SIZE).to(dtype)
    found = []
    for kind in (dtype, torch.float32):
        regions = region(make_setup(comfy, "sd15"), white.to(kind))
        found.append(
            comfy.call(
                "LocalControl_Z0Frames",
                latent={"samples": samples.to(dtype).to(kind)},
                z0_trace=trace,
                regions=regions,
                reference={"samples": reference.to(kind)},
            )
        )
    half, full = found
    assert half[0].dtype == torch.float32
    for a, b in ((half[0], full[0]), (half[1]["samples"], full[1]["samples"])):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-3)
    assert half[3] == full[3]


def test_a_result_that_is_not_finite_is_still_that_of_its_sampling(comfy, watch, model):
    watched, trace, _ = watch(model)
    sample_model(watched)
    (sampling,) = trace.samplings
    sampling.result = torch.full_like(sampling.result, torch.nan)
    assert len(frames(comfy, trace, sampling.result)[0]) == 4


def test_frames_are_decoded_by_a_vae(comfy, watch, model):
    watched, trace, _ = watch(model)
    samples = sample_model(watched)
    images = frames(comfy, trace, samples, small_vae())[0]
    assert images.shape == (4, 8 * SIZE, 8 * SIZE, 3)
    assert images.min() >= 0
    assert images.max() <= 1


def test_the_curve_ends_at_the_result(comfy, watch, model):
    watched, trace, _ = watch(model)
    samples = sample_model(watched)
    _, _, chart, numbers = frames(comfy, trace, samples)
    curve = json.loads(numbers)
    assert curve["inside"][-1] == pytest.approx(0, abs=1e-6)
    assert curve["inside"][0] > curve["inside"][2] > 0
    assert curve["outside"] == [None] * 4  # no region: nothing is outside
    assert "NaN" not in numbers
    assert chart.shape == (1, 320, 512, 3)


def test_the_curve_tells_inside_from_outside(comfy, watch, model):
    watched, trace, _ = watch(model)
    samples = sample_model(watched)
    reference = samples.clone()
    reference[..., SIZE // 2 :] = 0
    mask = torch.zeros(1, 8 * SIZE, 8 * SIZE)
    mask[..., : 3 * SIZE] = 1
    regions = region(make_setup(comfy, "sd15"), mask)
    node = comfy.nodes["LocalControl_Z0Frames"]
    given = {"samples": samples}
    result = node.execute(given, trace, None, regions, {"samples": reference}).result
    curve = json.loads(result[3])
    assert curve["inside"][-1] < 0.01 * curve["outside"][-1]
    with pytest.raises(ValueError, match="encode a picture of the result's size"):
        node.execute(given, trace, None, regions, {"samples": reference[..., :4]})


def test_nothing_is_kept_of_earlier_prompts(comfy, watch, model):
    """Fifty prompts: neither tensors nor threads pile up."""
    watched, trace, _ = watch(model)
    counts = []
    for round_ in range(50):
        with prompt(round_):
            sample_model(watched, steps=1)
        if round_ in (9, 49):
            gc.collect()
            tensors = sum(isinstance(item, torch.Tensor) for item in gc.get_objects())
            counts.append((tensors, threading.active_count()))
    assert len(trace.samplings[-1].frames) == 1
    assert counts[1][0] <= counts[0][0] + 5
    assert counts[1][1] <= counts[0][1] + 1
