"""z0' while sampling and after it, in ComfyUI's own samplers."""

import gc
import json
import threading

import numpy as np
import pytest
import torch
from PIL import Image
from small_models import FAMILIES, build_model, conditioning, fill
from test_adapter_control import make_setup, region

SIZE = 16


@pytest.fixture
def model():
    return build_model("sd15")


@pytest.fixture
def watch(comfy, monkeypatch):
    import comfy.utils as utils

    shown = []

    def hook(value, total, image, node_id=None):
        shown.append((value, total, image))

    monkeypatch.setattr(utils, "PROGRESS_BAR_HOOK", hook)

    def run(model, **kwargs):
        node = comfy.nodes["LocalControl_Z0Preview"].PREPARE_CLASS_CLONE({"UNIQUE_ID": "7"})
        watched, trace = node.execute(model, **kwargs).result
        return watched, trace, shown

    return run


def sample(model, steps=4, sampler="euler", batch=1, channels=4, **kwargs):
    import comfy.sample

    shape = (batch, channels, SIZE, SIZE)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    return comfy.sample.sample(
        model,
        noise,
        steps,
        3.0,
        sampler,
        "normal",
        conditioning(0),
        conditioning(1),
        torch.zeros(shape),
        seed=0,
        disable_pbar=True,
        **kwargs,
    )


def frames(comfy, trace, samples, vae=None):
    return comfy.nodes["LocalControl_Z0Frames"].execute(trace, {"samples": samples}, vae).result


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m", "dpmpp_sde", "ddim", "uni_pc"])
def test_every_sampler_gives_one_frame_a_step(comfy, watch, model, sampler):
    watched, trace, shown = watch(model)
    samples = sample(watched, sampler=sampler)
    assert len(trace.frames) == 4
    assert [value for value, _, _ in shown] == [1, 2, 3, 4]
    assert {total for _, total, _ in shown} == {4}
    assert frames(comfy, trace, samples)[0].shape == (4, 8 * SIZE, 8 * SIZE, 3)


@pytest.mark.parametrize("prediction", ["EPS", "V_PREDICTION", "FLOW", "EDM"])
def test_the_last_frame_is_the_result_for_every_prediction_type(comfy, watch, prediction):
    watched, trace, _ = watch(build_model("sd15", prediction))
    samples = sample(watched)
    latents = frames(comfy, trace, samples)[1]["samples"]
    torch.testing.assert_close(latents[-1:], samples, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_previewed(comfy, watch, family):
    channels = FAMILIES[family].latent_channels
    watched, trace, shown = watch(build_model(family))
    sample(watched, steps=2, channels=channels)
    assert len(trace.frames) == len(shown) == 2
    assert shown[-1][2] is not None


def test_watching_changes_neither_the_result_nor_the_model(watch, model):
    plain = sample(model)
    watched, _, _ = watch(model)
    assert torch.equal(sample(watched), plain)
    assert torch.equal(sample(model), plain)
    assert not model.wrappers


def pictures(shown):
    return [image[1] for _, _, image in shown if image is not None]


def test_the_preview_is_of_the_whole_batch(watch, model):
    watched, trace, shown = watch(model)
    sample(watched, batch=3)
    kind = shown[-1][2][0]
    assert kind == "JPEG"
    assert pictures(shown)[-1].size == (3 * 8 * SIZE, 8 * SIZE)
    assert trace.frames[0].shape[0] == 3


def test_the_last_picture_is_always_shown(watch, model):
    watched, _, shown = watch(model, every=100)
    sample(watched)
    assert shown[-1][0] == 4
    assert shown[-1][2] is not None


def test_sampling_does_not_wait_for_slow_pictures(comfy, model):
    z0_trace = comfy.module("nodes.hooks.z0_trace")
    gate, made, sent = threading.Event(), [], []

    def render(frame):
        if not made:
            gate.wait(60)  # the first picture takes until the last step
        made.append(frame)
        return Image.new("RGB", (8, 8))

    def send(step, steps, picture):
        sent.append((step, picture is not None))
        if step == steps - 1:
            gate.set()

    watched = z0_trace.watch_z0(
        model, z0_trace.Z0Trace(), lambda: z0_trace.LivePreview(render, send)
    )
    assert torch.equal(sample(watched), sample(model))
    assert [step for step, _ in sent] == [1, 2, 3, 4]
    assert sent[0][1] is False
    assert sent[-1][1] is True
    assert len(made) == 2  # the first and the last; those between were passed over


def test_outlines_of_regions_are_drawn(comfy, watch, model):
    setup = make_setup(comfy, "sd15")
    mask = torch.zeros(1, 8 * SIZE, 8 * SIZE)
    mask[:, 32:96, 32:96] = 1
    plain, outlined = [], []
    for found, regions in ((plain, ()), (outlined, region(setup, mask))):
        watched, _, shown = watch(model, regions=regions)
        shown.clear()
        sample(watched)
        found.append(np.asarray(pictures(shown)[-1]).astype(int))
    changed = np.abs(plain[0] - outlined[0]).sum(-1) > 0
    assert changed[32, 40:90].all()
    assert not changed[:28].any()
    assert not changed[60:70, 60:70].any()


@pytest.mark.parametrize("part", ["positive", "negative"])
def test_one_prompts_prediction_can_be_shown_alone(watch, model, part):
    watched, trace, shown = watch(model, part=part)
    samples = sample(watched)
    alone = pictures(shown)[-1]
    shown.clear()
    both, _, _ = watch(model)
    assert torch.equal(sample(both), samples)
    assert np.asarray(alone).tobytes() != np.asarray(pictures(shown)[-1]).tobytes()
    assert len(trace.frames) == 4


def test_a_vae_decodes_the_preview(watch, model):
    watched, _, shown = watch(model, vae=small_vae())
    sample(watched)
    assert pictures(shown)[-1].size == (8 * SIZE, 8 * SIZE)


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
    assert len(trace.frames) == 3
    assert len(frames(comfy, trace, samples)[0]) == 3


def test_a_preview_that_fails_does_not_end_the_sampling(comfy, model, caplog):
    z0_trace = comfy.module("nodes.hooks.z0_trace")

    def broken(frame):
        raise RuntimeError("no picture")

    live = z0_trace.LivePreview(broken, lambda *args: None)
    watched = z0_trace.watch_z0(model, z0_trace.Z0Trace(), lambda: live)
    assert torch.equal(sample(watched), sample(model))
    assert "sampling goes on" in caplog.text


def test_the_servers_own_preview_still_runs(watch, model):
    seen = []
    watched, _, _ = watch(model)
    sample(watched, callback=lambda step, x0, x, total: seen.append(step))
    assert seen == [0, 1, 2, 3]


def test_frames_without_a_run_or_of_another_run_are_refused(comfy, watch, model):
    watched, trace, _ = watch(model)
    with pytest.raises(ValueError, match="trace is empty"):
        frames(comfy, trace, torch.zeros(1, 4, SIZE, SIZE))
    samples = sample(watched)
    with pytest.raises(ValueError, match="another sampling"):
        frames(comfy, trace, samples + 1)


def small_vae():
    from comfy.sd import VAE
    from comfy.taesd.taesd import TAESD

    with torch.inference_mode(False):
        taesd = TAESD().requires_grad_(False)
        fill(taesd.taesd_encoder)
        fill(taesd.taesd_decoder)
        return VAE(sd=taesd.state_dict())


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
    assert all(value != value for value in curve["outside"])  # no region: nothing is outside
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
    result = node.execute(trace, given, None, regions, {"samples": reference}).result
    curve = json.loads(result[3])
    assert curve["inside"][-1] < 0.01 * curve["outside"][-1]
    with pytest.raises(ValueError, match="encode a picture of the result's size"):
        node.execute(trace, given, None, regions, {"samples": reference[..., :4]})


def test_nothing_is_kept_of_earlier_prompts(comfy, watch, model):
    """Fifty prompts: neither tensors nor threads pile up."""
    watched, trace, _ = watch(model)
    counts = []
    for round_ in range(50):
        sample(watched, steps=1)
        if round_ in (9, 49):
            gc.collect()
            tensors = sum(isinstance(item, torch.Tensor) for item in gc.get_objects())
            counts.append((tensors, threading.active_count()))
    assert len(trace.frames) == 1
    assert counts[1][0] <= counts[0][0] + 5
    assert counts[1][1] <= counts[0][1] + 1
