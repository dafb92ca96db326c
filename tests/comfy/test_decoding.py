"""Latents as pictures by their colours."""

import pytest
import torch


def formats_with_colours():
    import comfy.latent_formats as formats

    found = [cls for cls in vars(formats).values() if isinstance(cls, type)]
    return [made for made in (cls() for cls in found) if made.latent_rgb_factors is not None]


CELLS = {
    "ChromaRadiance": 1,
    "SC_B": 4,
    "SD15": 8,
    "Flux": 8,
    "Flux2": 16,
    "Wan22": 16,
    "HunyuanVideo15": 16,
    "LTXV": 32,
    "HunyuanImage21": 32,
    "SC_Prior": 42,
}


@pytest.mark.parametrize("name", CELLS)
def test_estimated_pictures_are_as_large_as_decoded_ones(comfy, name):
    import comfy.latent_formats as formats

    decoding = comfy.module("nodes.pictures.decoding")
    made = getattr(formats, name)()
    size = (CELLS[name] * 6, CELLS[name] * 4)
    frames = (2,) if made.latent_dimensions == 3 else ()
    latent = torch.zeros(1, made.latent_channels, *frames, 6, 4)
    assert decoding.estimate(made)(latent)[0].size == size[::-1]
    assert decoding.estimate_images(latent, made).shape == (1, *size, 3)


def test_what_latent_formats_tell_of_their_size_is_what_is_known_of_them(comfy):
    import comfy.latent_formats as formats

    for name, cell in CELLS.items():
        assert getattr(getattr(formats, name)(), "spacial_downscale_ratio", cell) == cell


def test_latents_that_a_format_has_no_colours_for_are_shown(comfy):
    import comfy.latent_formats as formats

    latent_to_rgb = comfy.module("nodes.pictures.decoding").latent_to_rgb
    assert latent_to_rgb(torch.zeros(1, 6, 4, 4), formats.SD15()).shape == (1, 4, 4, 3)
    assert latent_to_rgb(torch.zeros(1, 2, 4, 4), formats.SD15()).shape == (1, 4, 4, 3)


def test_colours_of_every_latent_format_are_estimated(comfy):
    decoding = comfy.module("nodes.pictures.decoding")
    assert "Flux2" in {type(made).__name__ for made in formats_with_colours()}
    for made in formats_with_colours():
        frames = (2,) if made.latent_dimensions == 3 else ()
        is_packed = made.latent_rgb_factors_reshape is not None
        # Those of pictures with sound count the channels of both.
        channels = made.latent_channels if is_packed else len(made.latent_rgb_factors)
        latent = torch.randn(2, channels, *frames, 6, 8)
        rgb = decoding.latent_to_rgb(latent, made)
        larger = 2 if is_packed else 1
        assert rgb.shape == (2, 6 * larger, 8 * larger, 3), type(made).__name__
        assert 0 <= rgb.min() < rgb.max() <= 1
