"""AdapterControl: what is special to adapters in ComfyUI's own sampling."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from adapters import core_control, make_setup
from controls import CLOSE, apply, local, prompts, region, sample, stock
from images import SIZE, left, picture, white
from kinds import cast
from small_models import FAMILIES, build_model


@pytest.fixture(params=FAMILIES)
def setup(comfy, request):
    return make_setup(comfy, request.param)


def test_our_plain_control_is_bit_equal_to_comfyuis_own(setup):
    ours = sample(setup, *stock(setup))
    assert torch.equal(ours, sample(setup, *stock(setup, control=core_control(setup))))


@pytest.mark.parametrize("strength", [0.5, 1.7])
def test_strength_acts_as_in_comfyui(setup, strength):
    ours = sample(setup, *stock(setup, strength=strength))
    theirs = sample(setup, *stock(setup, control=core_control(setup), strength=strength))
    torch.testing.assert_close(ours, theirs, **CLOSE)
    full = sample(setup, *local(setup, white(), strength=strength))
    assert torch.equal(full, ours)


@pytest.mark.parametrize("is_ours_first", [True, False])
def test_a_chain_with_comfyuis_own_adapter_keeps_both(setup, is_ours_first):
    other, image = core_control(setup), picture(seed=9)
    if is_ours_first:
        chained = stock(setup, image, *local(setup, white()), control=other)
    else:
        chained = local(setup, white(), None, *stock(setup, image, control=other))
    both = stock(setup, image, *stock(setup, control=core_control(setup)), control=other)
    torch.testing.assert_close(sample(setup, *chained), sample(setup, *both), **CLOSE)


def test_overlap_rules_differ_where_regions_overlap(setup):
    regions = region(setup, white(), picture(seed=5), region(setup, left()))
    results = [
        sample(setup, *apply(setup, regions, overlap=rule))
        for rule in ("add", "normalise", "priority")
    ]
    assert not torch.allclose(results[0], results[1])
    assert not torch.allclose(results[1], results[2])


def test_features_are_computed_once_per_sampling(setup, monkeypatch):
    calls = []
    network = setup.loaded.network
    forward = network.forward
    monkeypatch.setattr(network, "forward", lambda c: calls.append(1) or forward(c))
    regions = region(setup, 1 - left(), regions=region(setup, left()))
    sample(setup, *apply(setup, regions))
    assert len(calls) == 2  # one for each region, whatever the number of steps


def test_the_network_is_on_the_device_only_while_it_computes(setup, monkeypatch):
    import comfy.model_management as management

    network, places = setup.loaded.network, []
    forward, device, home = network.forward, management.get_torch_device(), torch.device("cpu", 0)
    monkeypatch.setattr(management, "unet_offload_device", lambda: home)
    monkeypatch.setattr(network, "to", lambda place: places.append(place) or network)
    monkeypatch.setattr(network, "forward", lambda c: places.append("computes") or forward(c))
    before = sample(setup, *local(setup, left()))
    assert places == [device, "computes", home]

    def fail(_):
        raise RuntimeError("no memory")

    monkeypatch.setattr(network, "forward", fail)
    places.clear()
    with pytest.raises(RuntimeError, match="no memory"):
        sample(setup, *local(setup, left()))
    assert places == [device, home]
    monkeypatch.undo()
    assert torch.equal(sample(setup, *local(setup, left())), before)


def test_an_adapter_is_used_by_one_device_at_a_time(setup):
    """Its network is moved to where it computes, so two at once would take it from each other."""
    image, cpu = picture().movedim(-1, 1), torch.device("cpu")
    expected = setup.loaded.features(image, SIZE, cpu)
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(setup.loaded.features, image, SIZE, cpu) for _ in range(16)]
    for job in jobs:
        assert all(map(torch.equal, job.result(), expected))


def test_room_is_asked_for_the_largest_adapter(setup):
    weights = sum(tensor.nbytes for tensor in setup.loaded.network.state_dict().values())
    regions = region(setup, 1 - left(), regions=region(setup, left()))
    control = apply(setup, regions)[0][0][1]["control"]
    assert control.inference_memory_requirements(torch.float16) == weights
    assert control.get_models() == []


@pytest.mark.parametrize("of_core", [False, True])
def test_with_little_memory_the_picture_is_the_same(setup, monkeypatch, of_core):
    import comfy.model_management as management

    if of_core:
        setup.control = core_control(setup)
    before = sample(setup, *local(setup, left()))
    management.unload_all_models()
    monkeypatch.setattr(management, "is_device_cpu", lambda device: False)
    monkeypatch.setattr(management, "vram_state", management.VRAMState.LOW_VRAM)
    free = management.get_free_memory
    monkeypatch.setattr(
        management, "get_free_memory", lambda *which: free(*which) if len(which) > 1 else 1024
    )
    after = sample(setup, *local(setup, left()))
    # Proof that ComfyUI streamed the model's weights.
    modules = setup.model.model.diffusion_model.modules()
    assert any(hasattr(module, "prev_comfy_cast_weights") for module in modules)
    torch.testing.assert_close(after, before, **CLOSE)  # cond and uncond run apart
    management.unload_all_models()


@pytest.mark.parametrize(("start", "end"), [(0.0, 0.4), (0.5, 1.0)])
def test_start_and_end_act_as_in_comfyui(setup, start, end):
    span = {"start_percent": start, "end_percent": end}
    ours = sample(setup, *local(setup, white(), **span))
    theirs = sample(setup, *stock(setup, control=core_control(setup), **span))
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, sample(setup, *local(setup, white())))


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_steps_right_at_start_or_end_act_as_in_comfyui(comfy, shift, share):
    from comfy.model_sampling import CONST, ModelSamplingDiscreteFlow
    from comfy.samplers import calculate_sigmas

    found = comfy.module("nodes.sampler.control.region")
    flow = type("Flow", (ModelSamplingDiscreteFlow, CONST), {})()
    flow.set_parameters(shift=shift)
    end = flow.percent_to_sigma(share)
    for steps in (4, 8, 20, 28):
        sigmas = calculate_sigmas(flow, "simple", steps)[:-1]
        for span in ((0.0, share), (share, 1.0)):
            region = found.Region(condition=torch.zeros(1), percent_range=span)
            timing = found.Timing(region, flow.percent_to_sigma)
            ours = [timing.factor(float(sigma)) is not None for sigma in sigmas]
            theirs = sigmas >= end if span[0] == 0 else sigmas <= end
            assert ours == theirs.tolist()


def test_half_precision_models_get_half_precision_features(setup):
    hooks = setup.comfy.module("nodes.sampler.control.adapter")
    one = hooks.AdapterRegion(adapter=setup.loaded, condition=picture().movedim(-1, 1))
    control = type(setup.control)(setup.loaded, [one])
    control.pre_run(setup.model.model, lambda percent: 1000.0 * (1 - percent))
    channels = FAMILIES[setup.family].latent_channels
    x = torch.zeros(2, channels, *SIZE, dtype=torch.bfloat16)
    out = control.get_control(x, torch.tensor([500.0, 500.0]), {}, 2, {})
    found = {f.dtype for row in out.values() for f in row if f is not None}
    assert found == {torch.bfloat16}


def test_a_control_of_core_can_be_gated(setup):
    setup.control = core_control(setup)
    full = sample(setup, *local(setup, white()))
    assert torch.equal(full, sample(setup, *stock(setup, control=core_control(setup))))
    assert not torch.equal(full, sample(setup, *local(setup, left())))


def test_regions_of_one_core_control_share_one_copy_and_leave_it_alone(setup):
    setup.control = core_control(setup)
    first, second = region(setup, 1 - left(), regions=region(setup, left()))
    assert first.adapter is second.adapter
    assert first.adapter.network is not setup.control.t2i_model
    assert region(setup, left())[0].adapter is first.adapter  # executed again


def test_a_copy_of_a_core_control_goes_with_it(setup):
    setup.control = core_control(setup)
    copied = weakref.ref(region(setup, left())[0].adapter)
    assert copied() is not None
    setup.control = None
    gc.collect()
    assert copied() is None


@pytest.mark.parametrize("in_channels", [1, 3])
def test_light_adapters_control_as_comfyuis_own(comfy, in_channels):
    from comfy.controlnet import T2IAdapter
    from comfy.t2i_adapter.adapter import Adapter_light

    setup = make_setup(comfy, "sd15", kind="light", in_channels=in_channels)
    # ComfyUI's loader knows light adapters of SD1.5's own width alone.
    config = setup.file.config
    network = Adapter_light(config.channels, config.blocks, cin=64 * in_channels)
    network.load_state_dict(setup.file.tensors)
    theirs = T2IAdapter(network, in_channels, 8, "nearest-exact")
    ones = white()
    full = sample(setup, *local(setup, ones))
    assert torch.equal(full, sample(setup, *stock(setup, control=theirs)))
    assert not torch.equal(full, sample(setup, *prompts(setup)))
    setup.control = theirs
    assert torch.equal(full, sample(setup, *local(setup, ones)))
    assert not torch.equal(full, sample(setup, *local(setup, left())))


@pytest.mark.parametrize(
    ("adapter", "model", "words"),
    [
        ("sd15", "sdxl", "width 32, but the model is SDXL"),
        ("sdxl", "sd15", "for SDXL, but the model is SD15"),
        ("sdxl", "demo", "for SDXL, but the model is LocalControlDemo"),
    ],
)
def test_an_adapter_of_another_family_is_named(comfy, adapter, model, words):
    setup = make_setup(comfy, adapter)
    setup.model, setup.family = build_model(model), model
    with pytest.raises(ValueError, match=words):
        sample(setup, *local(setup, left()))


@pytest.mark.parametrize(("bias", "dtype"), [(3e38, torch.float32), (2e4, torch.float16)])
def test_features_beyond_the_model_s_precision_are_refused(comfy, bias, dtype):
    setup = make_setup(comfy, "sd15")
    setup.loaded.network.conv_in.bias.fill_(bias)
    hooks = comfy.module("nodes.sampler.control.adapter")
    condition = picture().movedim(-1, 1)
    one = hooks.AdapterRegion(adapter=setup.loaded, condition=condition, strength=10.0, number=2)
    control = type(setup.control)(setup.loaded, [one])
    control.pre_run(setup.model.model, lambda percent: 1000.0 * (1 - percent))
    x = torch.zeros(1, 4, *SIZE, dtype=dtype)
    with pytest.raises(ValueError, match=r"adapter test of region 2 .* at strength 10 .* black"):
        control.get_control(x, torch.tensor([500.0]), {}, 1, {})


def test_features_beyond_the_model_s_precision_are_refused_in_a_sampling(comfy):
    setup = make_setup(comfy, "sd15")
    cast([setup.model.model.diffusion_model], torch.float16)
    setup.loaded.network.conv_in.bias.fill_(7000)
    assert sample(setup, *local(setup, left())).isfinite().all()
    with pytest.raises(ValueError, match=r"at strength 10 .* too large for float16, .* black"):
        sample(setup, *local(setup, left(), strength=10.0))


def answered(setup, *regions, dtype=torch.float16):
    control = type(setup.control)(setup.loaded, regions)
    control.pre_run(setup.model.model, lambda percent: 1000.0 * (1 - percent))
    return control.get_control(
        torch.zeros(1, 4, *SIZE, dtype=dtype), torch.tensor([999.0]), {}, 1, {}
    )


def test_a_curve_that_takes_features_beyond_the_precision_is_refused_at_the_first_step(comfy):
    setup = make_setup(comfy, "sd15")
    setup.loaded.network.conv_in.bias.fill_(7000)
    hooks = comfy.module("nodes.sampler.control.adapter")
    condition = picture().movedim(-1, 1)
    regions = [
        hooks.AdapterRegion(adapter=setup.loaded, condition=condition, curve=curve, number=2)
        for curve in ((1.0,), (10.0,), (0.0, 10.0))
    ]
    assert answered(setup, regions[0])
    for rising in regions[1:]:
        with pytest.raises(ValueError, match=r"of region 2 .* at strength 10 .* float16, .* black"):
            answered(setup, rising)
        assert answered(setup, rising, dtype=torch.float32)


def test_regions_that_are_too_large_together_are_refused(comfy):
    setup = make_setup(comfy, "sd15")
    setup.loaded.network.conv_in.bias.fill_(7000)
    hooks = comfy.module("nodes.sampler.control.adapter")
    options = {"adapter": setup.loaded, "condition": picture().movedim(-1, 1), "strength": 3.0}
    regions = [hooks.AdapterRegion(**options, number=number) for number in (1, 2, 3)]
    assert answered(setup, regions[0])
    with pytest.raises(ValueError, match=r"Regions 1 and 2 and 3 together .* too large"):
        answered(setup, *regions)


def test_bad_regions_are_named(comfy):
    setup = make_setup(comfy, "sd15")
    with pytest.raises(ValueError, match="mask is 64 x 64, but the condition image is 128 x 128"):
        local(setup, torch.ones(1, 64, 64))
    with pytest.raises(ValueError, match="all black"):
        local(setup, torch.zeros(1, 128, 128))
    with pytest.raises(ValueError, match="leaves nothing"):
        local(
            setup, torch.nn.functional.one_hot(torch.tensor([[60] * 128]), 128).float(), feather=64
        )
    with pytest.raises(ValueError, match="4 numbers"):
        local(setup, left(), level_weights="1, 2")
    with pytest.raises(ValueError, match="3 masks for 2 latents"):
        sample(setup, *local(setup, torch.ones(3, 128, 128)), batch=2)
    with pytest.raises(ValueError, match="3 condition images for 2 latents"):
        sample(setup, *local(setup, left(), picture(batch=3)), batch=2)
