"""z0' while sampling and after it, in ComfyUI's own samplers."""

import gc
import json
import threading
import weakref
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from adapters import left, make_setup, region
from PIL import Image
from small_controls import wan
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
        shown.append((value, total, image))

    monkeypatch.setattr(utils, "PROGRESS_BAR_HOOK", hook)

    def run(model, **kwargs):
        node = comfy.prepared("LocalControl_Z0Preview", "7")
        watched, trace = node.execute(model, **kwargs).result
        return watched, trace, shown

    return run


def sample(model, steps=4, sampler="euler", batch=1, channels=4, cfg=3.0, **kwargs):
    import comfy.sample

    shape = (batch, channels, SIZE, SIZE)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    return comfy.sample.sample(
        model,
        noise,
        steps,
        cfg,
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
    return comfy.call("LocalControl_Z0Frames", latent={"samples": samples}, z0_trace=trace, vae=vae)


def with_preview(comfy, model, live):
    """The model with a preview that stands in for the node's own."""
    trace = comfy.module("nodes.sampler.z0.trace").Z0Trace()
    return comfy.module("nodes.sampler.z0.watch").watch_z0(model, trace, lambda run, noise: live)


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m", "dpmpp_sde", "ddim", "uni_pc"])
def test_every_sampler_gives_one_frame_a_step(comfy, watch, model, sampler):
    watched, trace, shown = watch(model)
    samples = sample(watched, sampler=sampler)
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
    samples = sample(
        watched, sampler=sampler, steps=5, callback=lambda step, x0, x, total: seen.append(step)
    )
    assert len(trace.samplings[-1].frames) == len(seen) != 5
    assert sum(image is not None for _, _, image in shown) <= 2  # the first and the last
    assert shown[-1][2] is not None
    assert trace.sampling_of(samples)


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
    assert len(trace.samplings[-1].frames) == 2
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
    assert pictures(shown)[-1].size == (2 * 8 * SIZE, 2 * 8 * SIZE)  # a grid, not a row
    assert trace.samplings[-1].frames[0].shape[0] == 3


def test_the_last_picture_is_always_shown(watch, model):
    watched, _, shown = watch(model, every=100)
    sample(watched)
    assert shown[-1][0] == 4
    assert shown[-1][2] is not None


def test_sampling_does_not_wait_for_slow_pictures(comfy, model):
    live_preview = comfy.module("nodes.sampler.z0.live")
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

    watched = with_preview(comfy, model, live_preview.LivePreview(render, send))
    assert torch.equal(sample(watched), sample(model))
    assert [step for step, _ in sent] == [1, 2, 3, 4, 4]
    assert not any(shown for _, shown in sent[:3])
    assert sent[-1][1] is True
    assert len(made) == 2  # the first and the last; those between were passed over


def test_the_end_waits_for_its_picture_for_a_moment_only(comfy, model, monkeypatch):
    live_preview = comfy.module("nodes.sampler.z0.live")
    monkeypatch.setattr(live_preview, "_PATIENCE", 0.05)
    gate, sent = threading.Event(), []
    live = live_preview.LivePreview(lambda frame: gate.wait(60), lambda *call: sent.append(call))
    live.show(0, 1, torch.zeros(1))
    live.finish()
    live.close()
    gate.set()
    assert sent == [(1, 1, None)]


def test_pictures_left_unfinished_never_run_beside_those_of_the_next_sampling(comfy, model):
    live_preview = comfy.module("nodes.sampler.z0.live")
    gate, running, most = threading.Event(), [], []

    def render(frame):
        running.append(frame)
        most.append(len(running))
        gate.wait(60)
        running.pop()
        return Image.new("RGB", (8, 8))

    class Impatient(live_preview.LivePreview):
        def finish(self):
            """Does not wait."""

    watched = with_preview(comfy, model, Impatient(render, lambda *call: None))
    for _ in range(3):
        sample(watched, steps=2)
    gate.set()
    live_preview._WORKER.submit(lambda: None).result(60)
    assert most == [1]  # the others were given up before they began


def test_pictures_that_wait_behind_an_earlier_samplings_are_given_up(comfy, monkeypatch):
    live_preview = comfy.module("nodes.sampler.z0.live")
    monkeypatch.setattr(live_preview, "_PATIENCE", 0.05)
    gate, made = threading.Event(), []
    live_preview._WORKER.submit(gate.wait, 60)
    live = live_preview.LivePreview(made.append, lambda *call: None)
    for step in range(3):
        live.show(step, 3, torch.tensor(step))
    live.finish()
    live.close()
    gate.set()
    live_preview._WORKER.submit(lambda: None).result(60)
    assert made == []


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
    assert len(trace.samplings[-1].frames) == 4


@pytest.mark.parametrize("part", ["positive", "negative"])
def test_without_a_second_prompt_the_result_is_shown(watch, model, part):
    watched, _, shown = watch(model, part=part)
    samples = sample(watched, cfg=1.0)
    alone = pictures(shown)[-1]
    shown.clear()
    both, _, _ = watch(model)
    assert torch.equal(sample(both, cfg=1.0), samples)
    assert np.asarray(alone).tobytes() == np.asarray(pictures(shown)[-1]).tobytes()


def test_each_image_of_a_batch_has_the_outline_of_its_own_mask(comfy, watch, model):
    masks = torch.zeros(2, 8 * SIZE, 8 * SIZE)
    masks[0, 8:40, 8:40] = 1
    masks[1, 88:120, 88:120] = 1
    regions = region(make_setup(comfy, "sd15"), masks)
    shown_with = []
    for given in ((), regions):
        watched, _, shown = watch(model, regions=given)
        shown.clear()
        sample(watched, batch=2)
        shown_with.append(np.asarray(pictures(shown)[-1]).astype(int))
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
        samples = sample(watched)
        seen.append(np.asarray(pictures(shown)[-1]).astype(int))
    assert torch.equal(samples, sample(model))
    changed = np.abs(seen[0] - seen[1]).sum(-1) > 0
    assert changed[-16:].any()
    assert not changed[:-32].any()


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


def test_a_reference_of_another_size_is_named(watch, model):
    watched, _, _ = watch(model, reference={"samples": torch.zeros(1, 4, SIZE, 4)})
    with pytest.raises(ValueError, match="reference of Preview z0' has the shape"):
        sample(watched)


def test_a_vae_decodes_the_preview(watch, model):
    watched, _, shown = watch(model, vae=small_vae())
    sample(watched)
    assert pictures(shown)[-1].size == (8 * SIZE, 8 * SIZE)


def test_the_vae_is_copied_once_a_sampling_and_not_kept(comfy, watch, model, monkeypatch):
    decoding = comfy.module("nodes.pictures.decoding")
    real, copies = decoding.copy_to_cpu, []

    def copy_and_note(network):
        copied = real(network)
        copies.append(weakref.ref(copied))
        return copied

    monkeypatch.setattr(decoding, "copy_to_cpu", copy_and_note)
    watched, _, _ = watch(model, vae=small_vae())
    assert len(copies) == 0
    for run in (1, 2):
        sample(watched)
        assert len(copies) == run
        comfy.module("nodes.sampler.z0.live")._WORKER.submit(lambda: None).result(60)
        gc.collect()
        assert all(copied() is None for copied in copies)


class VideoVae:
    """Stands for a video VAE: four pictures for a latent frame, an eighth in size."""

    class Network(torch.nn.Module):
        def decode(self, latent):
            large = torch.nn.functional.interpolate(latent[:, :3], scale_factor=(1, 8, 8))
            return large.repeat_interleave(4, 2)

    latent_dim = 3

    def __init__(self):
        self.first_stage_model = self.Network()

    @staticmethod
    def process_output(pictures):
        return pictures

    def decode(self, latent):
        return self.first_stage_model.decode(latent).movedim(1, -1)


@pytest.fixture
def video():
    return wan()


def sample_video(model, setup, batch=1, steps=2):
    import comfy.sample

    shape = (batch, 16, 3, SIZE, SIZE)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    prompts = setup.text(0), setup.text(1)
    options = {"seed": 0, "disable_pbar": True}
    return comfy.sample.sample(
        model, noise, steps, 2.0, "euler", "simple", *prompts, torch.zeros(shape), **options
    )


@pytest.mark.parametrize("vae", [None, VideoVae()])
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
        seen.append(np.asarray(pictures(shown)[-1]).astype(int))
    assert trace.samplings[-1].frames[0].shape == (2, 16, 3, SIZE, SIZE)
    assert seen[0].shape == (8 * SIZE, 2 * 8 * SIZE, 3)
    changed = np.abs(seen[0] - seen[1]).sum(-1) > 0
    assert changed[:64, :64].any()
    assert not changed[64:].any()


def test_frames_of_videos_are_images_in_a_row(comfy, watch, video):
    watched, trace, _ = watch(video.model)
    samples = sample_video(watched, video)
    images, latents, *_ = frames(comfy, trace, samples, VideoVae())
    assert images.shape == (2 * 3 * 4, 8 * SIZE, 8 * SIZE, 3)
    assert latents["samples"].shape == (2, 16, 3, SIZE, SIZE)
    assert frames(comfy, trace, samples)[0].shape == (2, 8 * SIZE, 8 * SIZE, 3)


def formats_with_colours():
    import comfy.latent_formats as formats

    found = [cls for cls in vars(formats).values() if isinstance(cls, type)]
    return [made for made in (cls() for cls in found) if made.latent_rgb_factors is not None]


def test_pixels_are_not_enlarged(comfy):
    import comfy.latent_formats as formats

    decoding = comfy.module("nodes.pictures.decoding")
    for kind, size in ((formats.ChromaRadiance, 6), (formats.SD15, 48)):
        made = kind()
        latent = torch.zeros(1, made.latent_channels, 6, 6)
        assert decoding.estimate(made)(latent)[0].size == (size, size)
        assert decoding.estimate_images(latent, made).shape == (1, size, size, 3)


def test_colours_of_every_latent_format_are_estimated(comfy):
    decoding = comfy.module("nodes.pictures.decoding")
    assert "Flux2" in {type(made).__name__ for made in formats_with_colours()}
    for made in formats_with_colours():
        frames = (2,) if made.latent_dimensions == 3 else ()
        latent = torch.randn(2, made.latent_channels, *frames, 6, 8)
        rgb = decoding.latent_to_rgb(latent, made)
        larger = 1 if made.latent_rgb_factors_reshape is None else 2
        assert rgb.shape == (2, 6 * larger, 8 * larger, 3), type(made).__name__
        assert 0 <= rgb.min() < rgb.max() <= 1


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


def test_a_preview_that_fails_does_not_end_the_sampling(comfy, model, caplog):
    def broken(frame):
        raise RuntimeError("no picture")

    live = comfy.module("nodes.sampler.z0.live").LivePreview(broken, lambda *args: None)
    watched = with_preview(comfy, model, live)
    assert torch.equal(sample(watched), sample(model))
    assert "sampling goes on" in caplog.text


def test_a_vae_that_cannot_be_copied_does_not_end_the_sampling(watch, model, caplog):
    vae = small_vae()
    vae.first_stage_model.register_buffer("broken", torch.zeros(1, device="meta"))
    watched, _, shown = watch(model, vae=vae)
    assert torch.equal(sample(watched), sample(model))
    assert "sampling goes on" in caplog.text
    assert pictures(shown) == []


def test_a_vae_is_copied_to_the_cpu_in_full_precision_and_left_as_it_is(comfy):
    copy_to_cpu = comfy.module("nodes.pictures.copying").copy_to_cpu
    network = small_vae().first_stage_model.half()
    network.register_buffer("count", torch.tensor(3))
    copied = copy_to_cpu(network)
    assert {p.dtype for p in copied.parameters()} == {torch.float32}
    assert copied.count == 3
    assert {p.dtype for p in network.parameters()} == {torch.float16}
    for name, value in network.state_dict().items():
        assert torch.equal(copied.state_dict()[name], value.to(copied.state_dict()[name]))
    latent = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(copied.decode(latent), network.float().decode(latent))


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
    with pytest.raises(ValueError, match="of other samplings"):
        frames(comfy, trace, samples + 1)


def test_frames_of_a_result_from_the_cache_are_found_after_another_run(comfy, watch, model):
    watched, trace, _ = watch(model)
    first, second = sample(watched, cfg=3.0), sample(watched, cfg=1.5)
    for samples in (first, second):
        last = frames(comfy, trace, samples)[1]["samples"][-1:]
        torch.testing.assert_close(last, samples, rtol=1e-3, atol=1e-3)


@contextmanager
def prompt(number):
    """What ComfyUI tells of the prompt that runs."""
    from comfy_execution.utils import CurrentNodeContext

    with CurrentNodeContext(str(number), "3"):
        yield


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


def wrappers(model, kind):
    return [wrapper for found in model.wrappers[kind].values() for wrapper in found]


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
