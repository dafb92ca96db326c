"""z0' while sampling and after it, in ComfyUI's own samplers."""

import pytest
import torch
from small_models import FAMILIES, build_model, conditioning, fill

SIZE = 16


@pytest.fixture
def model():
    return build_model("sd15")


@pytest.fixture
def watch(comfy, monkeypatch):
    import comfy.utils as utils

    shown = []

    def hook(value, total, image, node_id=None):
        if image is not None:
            shown.append((value, total, image))

    monkeypatch.setattr(utils, "PROGRESS_BAR_HOOK", hook)

    def run(model):
        node = comfy.nodes["LocalControl_Z0Preview"].PREPARE_CLASS_CLONE({"UNIQUE_ID": "7"})
        watched, trace = node.execute(model).result
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


def test_watching_changes_neither_the_result_nor_the_model(watch, model):
    plain = sample(model)
    watched, _, _ = watch(model)
    assert torch.equal(sample(watched), plain)
    assert torch.equal(sample(model), plain)
    assert not model.wrappers


def test_the_preview_is_of_the_whole_batch(watch, model):
    watched, trace, shown = watch(model)
    sample(watched, batch=3)
    kind, picture, _ = shown[0][2]
    assert kind == "JPEG"
    assert picture.size == (3 * 8 * SIZE, 8 * SIZE)
    assert trace.frames[0].shape[0] == 3


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

    def broken(step, steps, x0):
        raise RuntimeError("no picture")

    watched = z0_trace.watch_z0(model, z0_trace.Z0Trace(), broken)
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


def test_frames_are_decoded_by_a_vae(comfy, watch, model):
    from comfy.sd import VAE
    from comfy.taesd.taesd import TAESD

    watched, trace, _ = watch(model)
    samples = sample(watched)
    with torch.inference_mode(False):
        taesd = TAESD().requires_grad_(False)
        fill(taesd.taesd_encoder)
        fill(taesd.taesd_decoder)
        vae = VAE(sd=taesd.state_dict())
    images, _ = frames(comfy, trace, samples, vae)
    assert images.shape == (4, 8 * SIZE, 8 * SIZE, 3)
    assert images.min() >= 0
    assert images.max() <= 1
