"""z0' watched and steered beside ComfyUI's own guidance and caches, before ours or after."""

import pytest
import torch
from images import left
from stock_nodes import STOCK, seeded, stock_node
from watched import SIZE, frames, sample_model

STEPS = 6


@pytest.fixture(params=STOCK)
def stock(request):
    """What makes a stock node of a model."""
    return stock_node(request.param)


@pytest.fixture(params=["before", "after"])
def combine(request, stock):
    """One of ours and the stock node, in either order."""
    if request.param == "before":
        return lambda ours, model: stock(ours(model))
    return lambda ours, model: ours(stock(model))


def run(model):
    return seeded(sample_model)(model, steps=STEPS)


def reference():
    return torch.randn(1, 4, SIZE, SIZE, generator=torch.Generator().manual_seed(5))


def test_a_preview_sees_every_step_and_changes_nothing(comfy, watch, model, stock, combine):
    traces = []

    def ours(model):
        watched, trace, _ = watch(model)
        traces.append(trace)
        return watched

    samples = run(combine(ours, model))
    assert torch.equal(samples, run(stock(model)))
    assert not torch.equal(samples, run(model))
    latents = frames(comfy, traces[0], samples)[1]["samples"]
    assert len(latents) == STEPS
    torch.testing.assert_close(latents[-1:], samples, rtol=1e-3, atol=1e-3)


def test_edge_guidance_brings_edges_closer(comfy, model, stock, combine):
    latent_format = model.get_model_object("latent_format")
    target = latent_format.process_in(reference())

    def ours(model):
        options = {"scale": 1.0, "start_percent": 0.0, "end_percent": 1.0, "edge": "sobel"}
        inputs = {"model": model, "reference": {"samples": reference()}, "mask": left()}
        return comfy.call("LocalControl_EdgeGuidance", **inputs, **options)[0]

    def error(samples):
        loss = comfy.module("local_control.steering").edge_loss
        return loss(latent_format.process_in(samples), target, left()[:, None]).item()

    assert error(run(combine(ours, model))) < 0.7 * error(run(stock(model)))
