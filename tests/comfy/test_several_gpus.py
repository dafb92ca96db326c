"""Two GPUs, emulated by the devices `cpu` and `cpu:0`, give one GPU's picture."""

import pytest
import torch
from kinds import CLOSE, KINDS, half, make_kind, picture


@pytest.fixture(params=KINDS)
def kind(comfy, request, monkeypatch):
    from comfy import controlnet, model_management

    if not hasattr(controlnet.ControlBase, "deepclone_multigpu"):
        pytest.skip("this ComfyUI knows of one GPU only")

    def free(device=None, torch_free_too=False):
        return (1e12, 1e12) if torch_free_too else 1e12

    monkeypatch.setattr(model_management, "set_torch_device", lambda device: None)
    monkeypatch.setattr(model_management, "get_free_memory", free)
    return make_kind(comfy, request.param)


def on_two(kind):
    """The model split over two devices; its second copy has the same weights."""
    model = kind.setup.model.clone()
    other = make_kind(kind.comfy, kind.name).setup.model
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
