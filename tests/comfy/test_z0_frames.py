"""z0' Frames: z0' of every step after sampling, and which samplings are known."""

import gc
import json
import threading
from types import SimpleNamespace

import pytest
import torch
from adapters import left, make_setup, region
from small_models import build_model
from watched import (
    SIZE,
    VideoVae,
    frames,
    prompt,
    sample,
    sample_video,
    small_vae,
    wrappers,
)


@pytest.mark.parametrize("prediction", ["EPS", "V_PREDICTION", "FLOW", "EDM"])
def test_the_last_frame_is_the_result_for_every_prediction_type(comfy, watch, prediction):
    watched, trace, _ = watch(build_model("sd15", prediction))
    samples = sample(watched)
    latents = frames(comfy, trace, samples)[1]["samples"]
    torch.testing.assert_close(latents[-1:], samples, rtol=1e-3, atol=1e-3)


def test_errors_are_those_of_the_curve(comfy, watch, model):
    z0 = comfy.module("nodes.z0_preview")
    watched, trace, _ = watch(model)
    samples = sample(watched)
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
    images, latents, *_ = frames(comfy, trace, samples, VideoVae())
    assert images.shape == (2 * 3 * 4, 8 * SIZE, 8 * SIZE, 3)
    assert latents["samples"].shape == (2, 16, 3, SIZE, SIZE)
    assert frames(comfy, trace, samples)[0].shape == (2, 8 * SIZE, 8 * SIZE, 3)


def test_frames_of_a_batch_stand_together_by_image(comfy, watch, model):
    watched, trace, _ = watch(model)
    samples = sample(watched, batch=2)
    latents = frames(comfy, trace, samples)[1]["samples"]
    assert len(latents) == 8
    torch.testing.assert_close(latents[3], samples[0], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(latents[7], samples[1], rtol=1e-3, atol=1e-3)


def test_a_second_run_forgets_the_first(comfy, watch, model):
    watched, trace, _ = watch(model)
    sample(watched, steps=4)
    samples = sample(watched, steps=3)
    assert len(trace.samplings[-1].frames) == 3
    assert len(frames(comfy, trace, samples)[0]) == 3


def test_frames_without_a_run_or_of_another_run_are_refused(comfy, watch, model):
    watched, trace, _ = watch(model)
    with pytest.raises(ValueError, match="trace is empty"):
        frames(comfy, trace, torch.zeros(1, 4, SIZE, SIZE))
    samples = sample(watched)
    with pytest.raises(ValueError, match="of other samplings"):
        frames(comfy, trace, samples + 1)


def test_frames_of_a_result_from_the_cache_are_found_after_another_run(comfy, watch, model):
    watched, trace, _ = watch(model)
    first, second = sample(watched, cfg=3.0), sample(watched, cfg=1.5)
    for samples in (first, second):
        last = frames(comfy, trace, samples)[1]["samples"][-1:]
        torch.testing.assert_close(last, samples, rtol=1e-3, atol=1e-3)


def test_of_earlier_prompts_a_few_samplings_are_kept(comfy, watch, model):
    watched, trace, _ = watch(model)
    results = []
    for number in range(7):
        with prompt(number):
            results.append(sample(watched, steps=1, cfg=1 + number))
    assert len(trace.samplings) == 5
    assert len(frames(comfy, trace, results[2])[0]) == 1
    with pytest.raises(ValueError, match="of other samplings"):
        frames(comfy, trace, results[1])


def test_a_list_of_any_length_has_frames_for_each(comfy, watch, model):
    watched, trace, _ = watch(model)
    with prompt(1):
        results = [sample(watched, steps=2, cfg=1 + i) for i in range(9)]
        for samples in results:
            last = frames(comfy, trace, samples)[1]["samples"][-1:]
            torch.testing.assert_close(last, samples, rtol=1e-3, atol=1e-3)


def test_samplings_beyond_what_memory_allows_are_named(comfy, watch, model, monkeypatch):
    watched, trace, _ = watch(model)
    # A step has 4 bytes of 4 channels.
    monkeypatch.setattr(comfy.module("nodes.sampler.z0.trace"), "KEPT_BYTES", 4 * 4 * 4 * SIZE**2)
    first, second = sample(watched, cfg=3.0), sample(watched, cfg=1.5)
    assert len(frames(comfy, trace, second)[0]) == 4
    with pytest.raises(ValueError, match="has let go of the steps"):
        frames(comfy, trace, first)


def test_of_pictures_with_sound_the_pictures_are_traced(comfy, watch, model):
    """ComfyUI packs both into one latent while it samples."""
    from comfy.nested_tensor import NestedTensor
    from comfy.utils import pack_latents

    latent_format = model.get_model_object("latent_format")
    both = [torch.randn(1, 4, SIZE, SIZE), torch.randn(1, 8, 10)]
    packed, shapes = pack_latents(both)
    watched, trace, shown = watch(model)
    outer, inner = (wrappers(watched, kind)[0] for kind in ("outer_sample", "sampler_sample"))

    def sampler(guider, sigmas, extra_args, callback, noise, *rest):
        callback(0, packed, packed, 1)
        return packed

    class Outer:
        class_obj = guider = SimpleNamespace(
            inner_model=SimpleNamespace(latent_format=latent_format),
            model_options=watched.model_options,
        )

        def __call__(self, **_):
            return inner(sampler, self.guider, None, {}, None, packed)

    outer(Outer(), latent_shapes=shapes)
    assert torch.equal(trace.samplings[-1].frames[0], both[0])
    assert shown[-1][2] is not None
    result = NestedTensor([latent_format.process_out(both[0]), both[1]])
    assert frames(comfy, trace, result)[0].shape == (1, 8 * SIZE, 8 * SIZE, 3)


def test_a_result_that_is_not_finite_is_still_that_of_its_sampling(comfy, watch, model):
    watched, trace, _ = watch(model)
    sample(watched)
    (sampling,) = trace.samplings
    sampling.result = torch.full_like(sampling.result, torch.nan)
    assert len(frames(comfy, trace, sampling.result)[0]) == 4


def test_frames_are_decoded_by_a_vae(comfy, watch, model):
    watched, trace, _ = watch(model)
    samples = sample(watched)
    images = frames(comfy, trace, samples, small_vae())[0]
    assert images.shape == (4, 8 * SIZE, 8 * SIZE, 3)
    assert images.min() >= 0
    assert images.max() <= 1


def test_the_curve_ends_at_the_result(comfy, watch, model):
    watched, trace, _ = watch(model)
    samples = sample(watched)
    _, _, chart, numbers = frames(comfy, trace, samples)
    curve = json.loads(numbers)
    assert curve["inside"][-1] == pytest.approx(0, abs=1e-6)
    assert curve["inside"][0] > curve["inside"][2] > 0
    assert curve["outside"] == [None] * 4  # no region: nothing is outside
    assert "NaN" not in numbers
    assert chart.shape == (1, 320, 512, 3)


def test_the_curve_tells_inside_from_outside(comfy, watch, model):
    watched, trace, _ = watch(model)
    samples = sample(watched)
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
            sample(watched, steps=1)
        if round_ in (9, 49):
            gc.collect()
            tensors = sum(isinstance(item, torch.Tensor) for item in gc.get_objects())
            counts.append((tensors, threading.active_count()))
    assert len(trace.samplings[-1].frames) == 1
    assert counts[1][0] <= counts[0][0] + 5
    assert counts[1][1] <= counts[0][1] + 1
