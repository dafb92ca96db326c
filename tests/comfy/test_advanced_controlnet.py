"""Advanced-ControlNet's own code: its controls in our regions, our adapters in its nodes."""

import importlib.util
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import controls
import pytest
import torch
from adapters import make_setup
from evolved import Evolved
from images import left, picture, stripes
from kinds import windowed
from small_controls import BUILDERS


@pytest.fixture(scope="module")
def acn(comfy):
    """Its modules, as ComfyUI loads a pack."""
    path = os.environ.get("ACN_PATH")
    if not path:
        pytest.skip("set ACN_PATH to a folder of ComfyUI-Advanced-ControlNet to run its own code")
    options = {"submodule_search_locations": [path]}
    spec = importlib.util.spec_from_file_location("acn", Path(path) / "__init__.py", **options)
    sys.modules["acn"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["acn"])
    names = {"control": "control", "nodes": "nodes_main", "utils": "utils"}
    return SimpleNamespace(
        **{key: sys.modules[f"acn.adv_control.{name}"] for key, name in names.items()}
    )


@pytest.fixture
def adapter(comfy):
    return make_setup(comfy, "sd15")


def applied(acn, setup, control, **options):
    node = acn.nodes.AdvancedControlNetApply
    return node.execute(*controls.prompts(setup), control, picture(), 1.0, 0.0, 1.0, **options).args


@pytest.mark.parametrize("name", ["sd15", "sdxl", "lora"])
def test_its_controls_act_in_our_regions_as_stock_ones(comfy, acn, name):
    setup = BUILDERS[name]()
    setup.comfy = comfy
    expected = controls.sample(setup, *controls.local(setup, left()))
    setup.control = acn.control.convert_to_advanced(setup.control)
    assert type(setup.control).__name__.endswith("Advanced")
    found = controls.sample(setup, *controls.local(setup, left()))
    torch.testing.assert_close(found, expected, **controls.CLOSE)


def keyframed(acn, control):
    """The control with a strength for each of six latents, and other ones in the second half."""
    frames = acn.utils.TimestepKeyframeGroup(add_default=False)
    for start, factor in ((0.0, 1.0), (0.5, 0.3)):
        latents = acn.utils.LatentKeyframeGroup()
        for index, strength in enumerate((1.0, 0.0, 0.5, 0.0, 1.0, 0.2)):
            latents.add(acn.utils.LatentKeyframe(index, strength * factor))
        frames.add(acn.utils.TimestepKeyframe(start, latent_keyframes=latents, guarantee_steps=2))
    return acn.control.convert_to_advanced(control, frames)


@pytest.mark.parametrize("windows", ["comfyui", "evolved"])
@pytest.mark.parametrize("pictures", [1, 6])
@pytest.mark.parametrize("name", ["sd15", "lora"])
def test_keyframes_in_our_regions_are_of_latents_by_their_numbers(
    comfy, acn, name, pictures, windows
):
    setup = BUILDERS[name]()
    setup.comfy = comfy
    setup.control = keyframed(acn, setup.control)
    conds = controls.local(setup, stripes(6), picture(batch=pictures))
    run = {"batch": 6, "steps": 5}
    whole = controls.sample(setup, *conds, **run)
    is_evolved = windows == "evolved"
    model = Evolved.sampled(setup.model) if is_evolved else windowed(setup.model, 4)
    found = controls.sample(setup, *conds, model=model, **run)
    torch.testing.assert_close(found, whole, **controls.CLOSE)
    free = controls.sample(setup, *controls.prompts(setup), **run)
    torch.testing.assert_close(found[1], free[1], **controls.CLOSE)
    assert not torch.allclose(found[4], free[4])


def test_our_adapters_act_in_its_nodes(acn, adapter):
    found = controls.sample(adapter, *applied(acn, adapter, adapter.control))
    expected = controls.sample(adapter, *controls.stock(adapter))
    assert torch.equal(found, expected)


def test_the_mask_of_its_node_gates_our_adapters(acn, adapter):
    conds = applied(acn, adapter, adapter.control, mask_optional=left())
    found = controls.sample(adapter, *conds)
    expected = controls.sample(adapter, *controls.local(adapter, left(), picture()))
    torch.testing.assert_close(found, expected, **controls.CLOSE)


def test_its_controls_before_ours_and_after(acn, adapter):
    own = BUILDERS["sd15"]().control
    theirs = acn.control.convert_to_advanced(own)
    stock = controls.stock(adapter, picture(seed=5), control=own)
    expected = controls.sample(adapter, *controls.local(adapter, left(), None, *stock))
    node = acn.nodes.AdvancedControlNetApply
    first = node.execute(*controls.prompts(adapter), theirs, picture(seed=5), 1.0, 0.0, 1.0).args
    found = controls.sample(adapter, *controls.local(adapter, left(), None, *first))
    torch.testing.assert_close(found, expected, **controls.CLOSE)
    local = controls.local(adapter, left())
    last = node.execute(*local, theirs, picture(seed=5), 1.0, 0.0, 1.0).args
    torch.testing.assert_close(controls.sample(adapter, *last), expected, **controls.CLOSE)


def test_keyframes_for_our_adapters_are_refused_in_a_sentence(acn, adapter):
    with pytest.raises(ValueError, match="Keyframes and weights of Advanced-ControlNet are not"):
        applied(acn, adapter, adapter.control, timestep_kf=object())
