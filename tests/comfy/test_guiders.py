"""Regions under every guider and custom sampler of ComfyUI, and after runs that were broken off."""

import gc
import weakref

import pytest
import torch
from adapters import core_control, make_setup
from controls import local, sample, stock
from images import left, picture, white
from small_controls import BUILDERS
from small_models import build_model, conditioning

SIZE = (16, 16)


def adapter(comfy):
    """An adapter in our nodes, and the same weights as ComfyUI's own control."""
    setup = make_setup(comfy, "sd15")
    return setup, core_control(setup)


def net(comfy):
    """A ControlNet, which both sides take as it is."""
    setup = BUILDERS["sd15"]()
    setup.comfy = comfy
    return setup, setup.control


@pytest.fixture(params=[adapter, net])
def pair(comfy, request):
    return request.param(comfy)


def call(name, **inputs):
    """One of ComfyUI's nodes for custom sampling."""
    from comfy_extras import nodes_custom_sampler

    return getattr(nodes_custom_sampler, name).execute(**inputs).result


def dual(model, positive, negative, style="regular"):
    return call(
        "DualCFGGuider",
        model=model,
        cond1=positive,
        cond2=conditioning(5),
        negative=negative,
        cfg_conds=3.0,
        cfg_cond2_negative=2.0,
        style=style,
    )


GUIDERS = {
    "dual": dual,
    "dual nested": lambda *args: dual(*args, style="nested"),
    "cfg": lambda model, positive, negative: call(
        "CFGGuider", model=model, positive=positive, negative=negative, cfg=3.0
    ),
    "basic": lambda model, positive, negative: call(
        "BasicGuider", model=model, conditioning=positive
    ),
}


def guided(setup, guider, positive, negative, steps=2):
    """What SamplerCustomAdvanced returns."""
    sigmas = call("BasicScheduler", model=setup.model, scheduler="normal", steps=steps, denoise=1.0)
    found = call(
        "SamplerCustomAdvanced",
        noise=call("RandomNoise", noise_seed=3)[0],
        guider=GUIDERS[guider](setup.model, positive, negative)[0],
        sampler=call("KSamplerSelect", sampler_name="euler")[0],
        sigmas=sigmas[0],
        latent_image={"samples": torch.zeros(1, 4, *SIZE)},
    )
    return found[0]["samples"]


@pytest.mark.parametrize("guider", GUIDERS)
def test_a_full_mask_is_bit_equal_to_the_plain_control_under_every_guider(pair, guider):
    setup, theirs = pair
    ours = guided(setup, guider, *local(setup, white()))
    assert torch.equal(ours, guided(setup, guider, *stock(setup, control=theirs)))
    assert not torch.equal(ours, guided(setup, guider, conditioning(0), conditioning(1)))


@pytest.mark.parametrize("guider", GUIDERS)
def test_edge_guidance_is_as_strong_as_set_under_every_guider(comfy, guider):
    setup, _ = adapter(comfy)
    reference = torch.randn(1, 4, *SIZE, generator=torch.Generator().manual_seed(5))
    node = comfy.nodes["LocalControl_EdgeGuidance"]
    prompts = conditioning(0), conditioning(1)
    plain = guided(setup, guider, *prompts, steps=1)  # one step ends with its z0'
    setup.model = node.execute(
        setup.model, {"samples": reference}, white(), 1.0, 0.0, 1.0, "sobel"
    ).result[0]
    found = guided(setup, guider, *prompts, steps=1)
    latents = setup.model.model.latent_format
    step = comfy.module("local_control.steering").step_towards_edges
    expected = step(
        latents.process_in(plain), latents.process_in(reference), white()[:, None], "sobel", 1.0
    )
    torch.testing.assert_close(found, latents.process_out(expected), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(found, plain, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("who", ["positive", "negative"])
@pytest.mark.parametrize("guider", ["dual", "cfg"])
def test_one_prompt_alone_is_controlled_under_every_guider(pair, guider, who):
    setup, _ = pair
    plain, both = (conditioning(0), conditioning(1)), local(setup, white())
    alone = (both[0], plain[1]) if who == "positive" else (plain[0], both[1])
    ours = guided(setup, guider, *local(setup, white(), acts_on=who))
    assert torch.equal(ours, guided(setup, guider, *alone))
    assert not torch.equal(ours, guided(setup, guider, *both))


def test_sampler_custom_is_controlled_as_stock_controls_it(pair):
    setup, theirs = pair

    def run(positive, negative):
        return call(
            "SamplerCustom",
            model=setup.model,
            add_noise=True,
            noise_seed=3,
            cfg=3.0,
            positive=positive,
            negative=negative,
            sampler=call("KSamplerSelect", sampler_name="dpmpp_2m")[0],
            sigmas=call("KarrasScheduler", steps=3, sigma_max=14.6, sigma_min=0.03, rho=7.0)[0],
            latent_image={"samples": torch.zeros(1, 4, *SIZE)},
        )[0]["samples"]

    ours = run(*local(setup, white()))
    assert torch.equal(ours, run(*stock(setup, control=theirs)))
    assert not torch.equal(run(*local(setup, left())), ours)


def broken_off(setup, conds):
    """Sample, and stop after the first step as an interrupt does."""
    import comfy.sample
    from comfy.model_management import InterruptProcessingException

    def stop(*args):
        raise InterruptProcessingException

    latent = torch.zeros(1, 4, *SIZE)
    with pytest.raises(InterruptProcessingException):
        comfy.sample.sample(
            setup.model,
            torch.ones_like(latent),
            3,
            2.0,
            "euler",
            "normal",
            *conds,
            latent,
            callback=stop,
            seed=0,
            disable_pbar=True,
        )


def test_a_run_that_was_broken_off_leaves_nothing_for_the_next_model(pair):
    setup, _ = pair
    conds = local(setup, left())
    broken_off(setup, conds)
    setup.model = build_model("sd15", "FLOW")
    after = sample(setup, *conds)
    assert torch.equal(after, sample(setup, *local(setup, left())))


def test_a_run_that_was_broken_off_lets_go_of_its_model(pair):
    setup, _ = pair
    conds = local(setup, left())
    broken_off(setup, conds)
    model = weakref.ref(setup.model.model)
    setup.model = None
    gc.collect()
    assert model() is None


def test_features_are_made_anew_after_a_run_that_was_broken_off(comfy):
    setup, _ = adapter(comfy)
    conds = local(setup, left(), picture())
    broken_off(setup, conds)
    setup.loaded.network.body[0].block2.bias.add_(1.0)
    assert torch.equal(sample(setup, *conds), sample(setup, *local(setup, left(), picture())))
