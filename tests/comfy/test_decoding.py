"""Latents as pictures, by their colours or by a copy of the VAE."""

import gc
import weakref

import torch
from watched import (
    pictures,
    sample,
    small_vae,
)


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
