"""Nodes that change noise levels and latent format, before ours or after."""

import pytest
import torch
from images import left
from watched import SIZE, frames, sample_model, shown_pictures


def reference():
    return {"samples": torch.randn(1, 4, SIZE, SIZE, generator=torch.Generator().manual_seed(5))}


@pytest.fixture(params=["v_prediction", "edm_playground_v2.5"])
def change(request):
    """A stock node that changes how the model samples; the second its latent format, too."""
    from comfy_extras.nodes_model_advanced import ModelSamplingContinuousEDM

    return lambda model: ModelSamplingContinuousEDM().patch(model, request.param, 20.0, 0.01)[0]


def test_edge_guidance_before_and_after_gives_the_same(comfy, model, change):
    def guide(model):
        options = {"scale": 1.0, "start_percent": 0.2, "end_percent": 0.9, "edge": "sobel"}
        inputs = {"model": model, "reference": reference(), "mask": left()}
        return comfy.call("LocalControl_EdgeGuidance", **inputs, **options)[0]

    guided = sample_model(change(guide(model)))
    assert torch.equal(guided, sample_model(guide(change(model))))
    assert not torch.equal(guided, sample_model(change(model)))


def test_a_preview_before_and_after_gives_the_same(comfy, watch, model, change):
    def seen(change_before, change_after):
        watched, trace, shown = watch(change_before(model), reference=reference())
        samples = sample_model(change_after(watched))
        images, latents, _, numbers = frames(comfy, trace, samples)
        torch.testing.assert_close(latents["samples"][-1:], samples, rtol=1e-3, atol=1e-3)
        return images, latents["samples"], numbers, shown_pictures(shown)[-1].tobytes()

    def leave(model):
        return model

    before, after, unchanged = seen(leave, change), seen(change, leave), seen(leave, leave)
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[1], after[1])
    assert before[2:] == after[2:]
    assert not torch.equal(before[1], unchanged[1])
