"""Two GPUs, emulated by the devices `cpu` and `cpu:0`, give one GPU's picture."""

from threading import get_ident

import controls
import pytest
import torch
from kinds import CLOSE, KINDS, half, make_kind, picture
from small_controls import qwen
from small_models import build_model
from small_patches import BUILDERS

# What controls keep of a sampling.
_MADE = ("_features", "_slots", "_inner", "_gates", "_blends")


@pytest.fixture
def devices(comfy, monkeypatch):
    from comfy import controlnet, model_management

    if not hasattr(controlnet.ControlBase, "deepclone_multigpu"):
        pytest.skip("this ComfyUI knows of one GPU only")

    def free(device=None, torch_free_too=False):
        return (1e12, 1e12) if torch_free_too else 1e12

    monkeypatch.setattr(model_management, "set_torch_device", lambda device: None)
    monkeypatch.setattr(model_management, "get_free_memory", free)


@pytest.fixture(params=KINDS)
def kind(comfy, devices, request):
    return make_kind(comfy, request.param)


def on_two(kind):
    """The model of a kind, split over two devices."""
    return split(kind.setup.model, make_kind(kind.comfy, kind.name).setup.model)


def split(model, other):
    """A model split over two devices; `other` has the same weights."""
    model = model.clone()
    clone = model.clone(model_override=other.get_clone_model_override())
    clone.load_device = torch.device("cpu:0")
    clone.is_multigpu_base_clone = True
    model.set_additional_models("multigpu", [clone])
    model.match_multigpu_clones()
    return model


@pytest.mark.parametrize(
    "options", [{}, {"strength_curve": "1, 0.5", "feather": 16}, {"outside": "exact"}]
)
def test_two_devices_give_the_picture_of_one(kind, options):
    if kind.name == "lora":
        pytest.skip("ComfyUI's own Control-LoRAs take their weights from the first GPU")
    conds = kind.local(half(), **options)
    one = kind.sample(conds)
    torch.testing.assert_close(kind.sample(conds, model=on_two(kind)), one, **CLOSE)
    assert not torch.allclose(one, kind.free())


def test_two_devices_keep_stock_controls_of_the_chain(kind):
    if kind.name == "lora":
        pytest.skip("ComfyUI's own Control-LoRAs take their weights from the first GPU")
    positive, negative = kind.stock()
    conds = kind.local(half(), positive=positive, negative=negative)
    one = kind.sample(conds)
    torch.testing.assert_close(kind.sample(conds, model=on_two(kind)), one, **CLOSE)


def test_what_a_sampling_that_fails_has_made_goes_on_both_devices(kind):
    if kind.name not in ("adapter sd15", "sd15"):
        pytest.skip("all kinds have this from one place")
    from comfy.patcher_extension import WrappersMP

    conds, held = kind.local(half()), []
    control = conds[0][0][1]["control"]

    def copies():
        return [control, *control.multigpu_clones.values()]

    def kept():
        return [any(bool(v) for k, v in vars(c).items() if k in _MADE) for c in copies()]

    def stop(executor, *args):
        executor(*args)
        held.extend(kept())
        raise RuntimeError("ended")

    model = on_two(kind)
    model.add_wrapper(WrappersMP.CALC_COND_BATCH, stop)
    with pytest.raises(RuntimeError, match="ended"):
        kind.sample(conds, model=model)
    assert held == [True, True]
    assert kept() == [False, False]


def gated_tokens(comfy):
    """A model whose patch after blocks is gated, its prompts, one of the same weights."""
    setup = qwen()
    model = setup.model.clone()
    model.set_model_double_block_patch(lambda args: {**args, "img": args["img"] + 1})
    model = comfy.nodes["LocalControl_GatePatches"].execute(model, half()).result[0]
    return setup, model, controls.prompts(setup), qwen().model


def gated_maps(comfy):
    setup = BUILDERS["SUPIR"]()
    setup.channels = 4
    model = comfy.nodes["LocalControl_GatePatches"].execute(setup.patched, half()).result[0]
    return setup, model, controls.prompts(setup), build_model("sdxl")


def gated_predictions(comfy):
    setup = qwen()
    (positive, negative), other = controls.prompts(setup), setup.text(seed=7)
    node = comfy.nodes["LocalControl_GatePredictions"]
    found = node.execute(setup.model, other, negative, half(), positive_without=positive).result
    return setup, found[0], found[1:], qwen().model


@pytest.mark.parametrize("make", [gated_tokens, gated_maps, gated_predictions])
def test_a_gate_of_a_model_gives_the_picture_of_one(comfy, devices, make):
    from comfy.patcher_extension import WrappersMP

    torch.manual_seed(0)
    setup, model, conds, other = make(comfy)
    one, threads = controls.sample(setup, *conds, model=model), set()

    def note(executor, *args, **kwargs):
        threads.add(get_ident())
        return executor(*args, **kwargs)

    both = split(model, other)
    both.add_wrapper(WrappersMP.APPLY_MODEL, note)
    torch.testing.assert_close(controls.sample(setup, *conds, model=both), one, **CLOSE)
    assert len(threads) == 2
    assert not torch.allclose(one, controls.sample(setup, *controls.prompts(setup)))


def test_gates_are_kept_for_each_device(comfy):
    mask = comfy.module("local_control.region_mask").RegionMask(half()[:, None])
    view = comfy.module("nodes.sampler.control.view")
    tokens = comfy.module("nodes.sampler.control.token_gate").TokenGate(mask)
    maps = comfy.module("nodes.sampler.control.unet_patch").MapGate(mask)
    x, kept = torch.zeros(1, 4, 16, 16), []
    options = view.note_areas(
        lambda model, conds, x, timestep, options: options, None, [], x, None, {}
    )["transformer_options"]
    for device in ("cpu", "meta", "cpu", "meta"):
        kept.append(tokens.factor(x.to(device), x.shape, options))
        assert kept[-1].device.type == device
        assert maps.let_in(x.to(device), x.to(device) + 1, options).device.type == device
    assert kept[0] is kept[2]
    assert kept[1] is kept[3]


def test_an_adapter_is_used_by_one_device_at_a_time(kind):
    """Its network is moved to where it computes, so two at once would take it from each other."""
    if not kind.name.startswith("adapter"):
        pytest.skip("other controls have a network for each GPU")
    from concurrent.futures import ThreadPoolExecutor

    adapter = kind.setup.control.adapter
    image = picture().movedim(-1, 1)
    expected = adapter.features(image, (16, 16), torch.device("cpu"))
    with ThreadPoolExecutor(8) as pool:
        jobs = [
            pool.submit(adapter.features, image, (16, 16), torch.device("cpu")) for _ in range(16)
        ]
    for job in jobs:
        assert all(torch.equal(a, b) for a, b in zip(job.result(), expected, strict=True))
