"""Pictures with sound: ComfyUI packs both into one latent while it samples."""

import pytest
import torch
from images import left
from small_models import conditioning
from watched import SIZE, frames

PICTURE, SOUND = (1, 4, SIZE, SIZE), (1, 8, 10)


def noise(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def nested(*parts):
    from comfy.nested_tensor import NestedTensor

    return NestedTensor(list(parts))


def sample(model, sound=True):
    """What a guider returns that predicts each value from itself alone."""
    from comfy.samplers import CFGGuider, sampler_object

    class Guider(CFGGuider):
        def predict_noise(self, x, timestep, model_options=None, seed=None):
            return x.sin()

    guider = Guider(model)
    guider.set_conds(conditioning(0), conditioning(1))
    both = [noise(PICTURE, 1), noise(SOUND, 2)] if sound else [noise(PICTURE, 1)]
    given = nested(*both) if sound else both[0]
    latent = nested(*(torch.zeros_like(one) for one in both)) if sound else torch.zeros(PICTURE)
    sigmas = torch.linspace(5, 0, 5)
    return guider.sample(given, latent, sampler_object("euler"), sigmas, seed=0, disable_pbar=True)


@pytest.fixture(params=["picture", "both"])
def reference(request):
    """A LATENT of a picture alone, or with sound."""
    picture = noise(PICTURE, 5)
    return {"samples": picture if request.param == "picture" else nested(picture, noise(SOUND, 6))}


def test_edge_guidance_guides_the_picture_as_if_alone_and_leaves_the_sound(comfy, model, reference):
    (guided,) = comfy.call(
        "LocalControl_EdgeGuidance",
        model=model,
        reference=reference,
        mask=left(),
        scale=1.0,
        start_percent=0.0,
        end_percent=1.0,
        edge="sobel",
    )
    picture, sound = sample(guided).unbind()
    assert torch.equal(picture, sample(guided, sound=False))
    assert not torch.equal(picture, sample(model, sound=False))
    assert torch.equal(sound, sample(model).unbind()[1])


def test_the_picture_is_shown_and_traced(comfy, watch, model, reference):
    watched, trace, shown = watch(model, reference=reference)
    result = sample(watched)
    assert shown[-1][2][1].size == (8 * SIZE, 8 * SIZE)
    images, latents, *_ = frames(comfy, trace, result)
    assert images.shape == (4, 8 * SIZE, 8 * SIZE, 3)
    torch.testing.assert_close(latents["samples"][-1:], result.unbind()[0], rtol=1e-3, atol=1e-3)
    plain = sample(model)
    for found, expected in zip(result.unbind(), plain.unbind(), strict=True):
        assert torch.equal(found, expected)
