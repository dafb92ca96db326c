"""What z0' Frames shows on itself: each step, its errors, and when control would begin or end."""

import json

import numpy as np
import pytest
import torch
from adapters import make_setup
from controls import region
from images import left
from PIL import Image
from small_models import build_model
from watched import SIZE, VideoDecoder, frames, sample_model, sample_video


def shown(comfy, trace, samples, **inputs):
    """What the node tells the pack's script, and the picture of all steps."""
    import folder_paths

    node = comfy.prepared("LocalControl_Z0Frames")
    (told,) = node.execute({"samples": samples}, trace, **inputs).ui["local_control_timeline"]
    with Image.open(f"{folder_paths.get_temp_directory()}/{told['sheet']['filename']}") as sheet:
        return told, np.asarray(sheet.convert("RGB"))


def cell(told, sheet, step):
    """The part of the sheet in which a step is."""
    width, height = told["size"]
    row, column = divmod(step, told["columns"])
    return sheet[row * height : (row + 1) * height, column * width : (column + 1) * width]


@pytest.mark.parametrize("prediction", ["EPS", "V_PREDICTION", "FLOW", "EDM"])
@pytest.mark.parametrize("denoise", [1.0, 0.6])
def test_a_region_from_one_bound_to_another_acts_in_the_steps_between(
    comfy, watch, prediction, denoise
):
    from comfy.samplers import KSampler

    model, steps = build_model("sd15", prediction), 7
    watched, trace, _ = watch(model)
    bounds = shown(comfy, trace, sample_model(watched, steps=steps, denoise=denoise))[0]["bounds"]
    levels = KSampler(model, steps, "cpu", "euler", "normal", denoise).sigmas[:-1].tolist()
    assert len(bounds) == len(levels) + 1 == steps + 1
    timing = comfy.module("nodes.sampler.control.region").Timing
    for first in range(steps):
        for last in range(first, steps):
            (timed,) = region(
                make_setup(comfy, "sd15"),
                left(),
                start_percent=bounds[first],
                end_percent=bounds[last + 1],
            )
            acts = timing(timed, model.model.model_sampling.percent_to_sigma).acts
            assert [i for i, level in enumerate(levels) if acts(level)] == [*range(first, last + 1)]


def test_the_picture_of_a_step_is_that_of_the_frames_and_the_numbers_are_those_of_the_curve(
    comfy, watch, model
):
    watched, trace, _ = watch(model)
    samples = sample_model(watched, batch=2, steps=5)
    regions = region(make_setup(comfy, "sd15"), left())
    told, sheet = shown(comfy, trace, samples, regions=regions)
    images, *_ = frames(comfy, trace, samples)
    assert told["steps"] == 5
    assert told["size"] == [8 * SIZE, 8 * SIZE]
    for step in range(5):
        expected = images[step].mul(255).round().byte().numpy()
        np.testing.assert_array_equal(cell(told, sheet, step), expected)
    node = comfy.nodes["LocalControl_Z0Frames"]
    numbers = json.loads(node.execute({"samples": samples}, trace, None, regions).result[3])
    assert {side: told[side] for side in ("inside", "outside")} == numbers


def test_of_a_video_the_first_frame_of_each_step_is_shown(comfy, watch, video):
    watched, trace, _ = watch(video.model)
    samples = sample_video(watched, video)
    told, sheet = shown(comfy, trace, samples, vae=VideoDecoder())
    images = frames(comfy, trace, samples, VideoDecoder())[0]
    assert told["steps"] == 2
    expected = images[3 * 4].clamp(0, 1).mul(255).round().byte().numpy()
    np.testing.assert_array_equal(cell(told, sheet, 1), expected)


def test_many_large_steps_make_a_picture_of_bounded_size(comfy):
    steps = comfy.module("nodes.timeline")
    curve = comfy.module("nodes.z0_frames").EdgeCurve([], [])
    node = comfy.prepared("LocalControl_Z0Frames")
    (told,) = steps.timeline(torch.rand(3, 900, 1200, 3), curve, [], node)[steps.SHOWN]
    assert told["size"] == [512, 384]


def test_a_sampler_with_steps_of_its_own_has_no_bounds(comfy, watch, model):
    watched, trace, _ = watch(model)
    told, _ = shown(comfy, trace, sample_model(watched, sampler="dpm_adaptive"))
    assert told["bounds"] is None
    bounds = comfy.module("nodes.timeline").step_bounds
    assert bounds([0.1, 0.5, 0.4], 3) is None
    assert bounds([0.1, 0.5], 2) == [0.0, 0.3, 1.0]


def test_without_a_trace_the_node_says_so(comfy):
    latent = {"samples": torch.zeros(1, 4, SIZE, SIZE)}
    (told,) = comfy.nodes["LocalControl_Z0Frames"].execute(latent).ui["local_control_timeline"]
    assert "nothing is connected to z0_trace" in told["words"]
