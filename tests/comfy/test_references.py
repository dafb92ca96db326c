"""What Edge Guidance follows: a latent, a picture of any size, or conditions."""

import pytest
import torch
from adapters import make_setup
from controls import CLOSE, region
from images import left, picture
from watched import SIZE, VideoDecoder, sample_model, sample_video, small_vae

SIDE = 8 * SIZE


@pytest.fixture
def setup(comfy):
    return make_setup(comfy, "sd15")


@pytest.fixture
def vae():
    return small_vae()


@pytest.fixture
def image(generator):
    return torch.rand(1, SIDE, SIDE, 3, generator=generator)


def guide(setup, **inputs):
    options = {"scale": 1.0, "start_percent": 0.0, "end_percent": 1.0, "edge": "sobel"}
    return setup.comfy.call("LocalControl_EdgeGuidance", model=setup.model, **options | inputs)[0]


def test_a_picture_of_the_result_s_size_guides_as_its_latent_does(setup, vae, image):
    latent = {"samples": vae.encode(image)}
    expected = sample_model(guide(setup, reference=latent, mask=left()))
    found = sample_model(guide(setup, image=image, vae=vae, mask=left()))
    assert torch.equal(found, expected)
    assert not torch.equal(found, sample_model(setup.model))


@pytest.mark.parametrize("size", [(SIDE // 2, SIDE // 2), (SIDE, 2 * SIDE), (3 * SIDE, SIDE)])
def test_a_picture_of_any_size_is_scaled_to_cover_the_result(setup, vae, generator, size):
    image = torch.rand(1, *size, 3, generator=generator)
    found = sample_model(guide(setup, image=image, vae=vae, mask=left()))
    assert found.isfinite().all()
    assert not torch.equal(found, sample_model(setup.model))


def test_a_picture_is_encoded_once_whatever_is_sampled(setup, vae, image, monkeypatch):
    calls, encode = [], vae.encode
    monkeypatch.setattr(vae, "encode", lambda pixels: calls.append(1) or encode(pixels))
    guided = guide(setup, image=image, vae=vae, mask=left())
    sample_model(guided)
    sample_model(guided, batch=2)
    assert calls == [1]


def test_a_latent_comes_before_a_picture(setup, vae, image):
    latent = {"samples": vae.encode(image)}
    expected = sample_model(guide(setup, reference=latent, mask=left()))
    both = guide(setup, reference=latent, image=1 - image, vae=vae, mask=left())
    assert torch.equal(sample_model(both), expected)


def test_masks_of_regions_are_for_their_own_latents(setup):
    masks = torch.cat([left(), 1 - left()])
    reference = {"samples": torch.ones(1, 4, SIZE, SIZE)}
    by_mask = sample_model(guide(setup, reference=reference, mask=masks), batch=2)
    by_regions = guide(setup, reference=reference, regions=region(setup, masks))
    assert torch.equal(sample_model(by_regions, batch=2), by_mask)
    apart = region(setup, left(), regions=region(setup, 1 - left()))
    everywhere = guide(setup, reference=reference, mask=torch.ones_like(left()))
    found = sample_model(guide(setup, reference=reference, regions=apart))
    torch.testing.assert_close(found, sample_model(everywhere), **CLOSE)


def test_conditions_of_a_batch_are_black_where_their_own_masks_are(setup):
    together = setup.comfy.module("nodes.reference").together
    found = together(region(setup, torch.cat([left(), 1 - left()]), picture(batch=2)))
    half = SIDE // 2
    assert not found[0, ..., half:].any()
    assert not found[1, ..., :half].any()
    assert found[0].any()
    assert found[1].any()


def test_regions_give_mask_and_conditions(setup, vae):
    regions = region(setup, left())
    condition = picture() * left()[..., None]
    expected = sample_model(guide(setup, image=condition, vae=vae, mask=left()))
    found = sample_model(guide(setup, regions=regions, vae=vae))
    torch.testing.assert_close(found, expected, **CLOSE)
    assert not torch.allclose(found, sample_model(setup.model), **CLOSE)


def test_what_is_missing_is_named(setup, vae, image):
    regions = region(setup, left())
    with pytest.raises(ValueError, match="neither a mask nor regions"):
        guide(setup, image=image, vae=vae)
    with pytest.raises(ValueError, match="Edge Guidance has nothing to follow"):
        guide(setup, mask=left())
    with pytest.raises(ValueError, match=r"The image of Edge Guidance .* connect the VAE"):
        guide(setup, mask=left(), image=image)
    with pytest.raises(ValueError, match=r"conditions of the regions .* connect the VAE"):
        guide(setup, regions=regions)


def test_a_picture_serves_every_frame_of_a_video(comfy, video, monkeypatch, generator):
    vae = VideoDecoder()
    monkeypatch.setattr(
        vae, "encode", lambda pixels: torch.randn(1, 16, 1, SIZE, SIZE), raising=False
    )
    guided = comfy.call(
        "LocalControl_EdgeGuidance",
        model=video.model,
        image=torch.rand(1, SIDE, SIDE, 3, generator=generator),
        vae=vae,
        mask=left(),
        scale=1.0,
        start_percent=0.0,
        end_percent=1.0,
        edge="sobel",
    )[0]
    found = sample_video(guided, video)
    assert found.isfinite().all()
    assert not torch.equal(found, sample_video(video.model, video))
