"""The preview's own copy of a VAE: whole, and without what is another's."""

import gc
import weakref

import pytest
import torch
from torch import nn
from watched import sample_model, shown_pictures, small_vae


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
        sample_model(watched)
        assert len(copies) == run
        comfy.module("nodes.sampler.z0.live")._WORKER.submit(lambda: None).result(60)
        gc.collect()
        assert all(copied() is None for copied in copies)


def test_a_vae_that_cannot_be_copied_does_not_end_the_sampling(watch, model, caplog):
    vae = small_vae()
    vae.first_stage_model.register_buffer("broken", torch.zeros(1, device="meta"))
    watched, _, shown = watch(model, vae=vae)
    assert torch.equal(sample_model(watched), sample_model(model))
    assert "sampling goes on" in caplog.text
    assert shown_pictures(shown) == []


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


def attributes(network):
    """The names of what hangs on any layer of a network."""
    found = (item for layer in network.modules() for item in vars(layer).items())
    return {name for name, value in found if value is not None}


class Handle:
    """Stands for memory of ComfyUI's manager, which is freed when its handle goes."""

    def __init__(self, freed):
        self.freed, self.address = freed, id(self)

    def __deepcopy__(self, memo):
        other = Handle(self.freed)
        other.address = self.address
        return other

    def __del__(self):
        self.freed.append(self.address)


@pytest.mark.parametrize("name", ["_v", "_pin_state", "dynamic_vbars", "of_a_later_version"])
@pytest.mark.parametrize("wrap", [lambda h: h, lambda h: (h, 0, 8), lambda h: {"cuda:0": [h]}])
def test_handles_that_others_hang_on_layers_stay_theirs(comfy, name, wrap):
    freed, network = [], small_vae().first_stage_model
    layer = next(one for one in network.modules() if isinstance(one, nn.Conv2d))
    setattr(layer, name, wrap(Handle(freed)))
    copied = comfy.module("nodes.pictures.copying").copy_to_cpu(network)
    assert name not in attributes(copied)
    copied.decode(torch.zeros(1, 4, 4, 4))
    del copied
    gc.collect()
    assert freed == []
    delattr(layer, name)
    gc.collect()
    assert len(freed) == 1


class Ledger:
    """Stands for the native library of ComfyUI's dynamic VRAM: counts what it gives and takes."""

    def __init__(self):
        self.held, self.faults, self._last = set(), [], 4096

    def _give(self, *_):
        self._last += 1 << 20
        self.held.add(self._last)
        return self._last

    def _take(self, *arguments):
        if arguments[-1] not in self.held:
            self.faults.append(arguments[-1])
        self.held.discard(arguments[-1])

    def __getattr__(self, name):
        if name.endswith("_allocate"):
            return self._give
        if name in ("vbar_free", "hostbuf_free"):
            return self._take
        if name == "vbar_get":
            return lambda context, address: address
        return lambda *_: 0


@pytest.fixture
def ledger(monkeypatch):
    """Dynamic VRAM of a device that is none, where this ComfyUI has it."""
    control = pytest.importorskip("comfy_aimdo.control")
    import comfy.model_management
    import comfy_aimdo.host_buffer
    import comfy_aimdo.model_vbar

    made = Ledger()
    for module in (control, comfy_aimdo.host_buffer, comfy_aimdo.model_vbar):
        monkeypatch.setattr(module, "lib", made)
    monkeypatch.setattr(control, "get_devctx", lambda device: 1)
    cpu = torch.device("cpu")
    monkeypatch.setattr(comfy.model_management, "is_device_cpu", lambda device: device == cpu)
    return made


def handles(network):
    """The names of what dynamic VRAM has hung on the layers of a network."""
    return {name for name in attributes(network) if name.startswith(("_v", "_pin", "dynamic_"))}


def test_the_copy_of_a_vae_in_dynamic_vram_frees_nothing_of_it(comfy, ledger):
    from comfy.model_patcher import ModelPatcherDynamic

    gc.collect()
    vae = small_vae()
    other = torch.device("cpu:0")  # whose tensors are on the CPU
    patcher = ModelPatcherDynamic(vae.first_stage_model, other, torch.device("cpu"))
    patcher.load(other)
    gc.collect()
    held = set(ledger.held)
    assert held
    assert handles(vae.first_stage_model)
    copied = comfy.module("nodes.pictures.copying").copy_to_cpu(vae.first_stage_model)
    assert handles(copied) == set()
    assert copied.decode(torch.zeros(1, 4, 4, 4)).isfinite().all()
    del copied
    gc.collect()
    assert ledger.held == held
    assert ledger.faults == []
