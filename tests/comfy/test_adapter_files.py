"""Which files are listed first, what they say of themselves, and conditions that follow them."""

import pytest
import torch
from demo_server import bad_adapters, random_adapter
from safetensors.torch import save_file

from local_control.adapter import Adapter, AdapterConfig
from local_control.checkpoint import AdapterFile, write_adapter


@pytest.fixture
def folder(comfy, tmp_path, monkeypatch):
    """A folder of controls that is empty, and all that ComfyUI knows of."""
    import folder_paths

    monkeypatch.setitem(
        folder_paths.folder_names_and_paths, "controlnet", ([str(tmp_path)], {".safetensors"})
    )
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return tmp_path


def listed(comfy, node_id):
    """The files that a node lists, and what it tells the pack's script of them."""
    (spec,) = (
        spec for spec in comfy.nodes[node_id].define_schema().inputs if spec.id == "adapter_name"
    )
    return spec.options, spec.extra_dict.get("local_control")


def test_local_adapters_come_first_then_adapters_then_the_rest(comfy, folder):
    good = random_adapter(folder / "z_local.safetensors")
    bad_adapters(folder, good)
    (folder / "sdxl.safetensors").unlink()
    config = AdapterConfig()
    plain = AdapterFile(config, Adapter(config).state_dict(), {})
    write_adapter(plain, folder / "y_t2i.safetensors")
    save_file({"control_model.zero": torch.zeros(1)}, folder / "a_controlnet.safetensors")
    for node_id in ("LocalControl_LoadAdapter", "LocalControl_LocalControl"):
        names, _ = listed(comfy, node_id)
        assert names[:2] == ["z_local.safetensors", "y_t2i.safetensors"]
        assert names[2] == "a_controlnet.safetensors"
        assert len(names) == 6


def test_the_words_are_those_of_the_info_and_a_file_that_changes_is_read_again(comfy, folder):
    path = random_adapter(folder / "a.safetensors")
    _, info = comfy.call("LocalControl_LoadAdapter", adapter_name=path.name)
    _, told = listed(comfy, "LocalControl_LoadAdapter")
    assert told == {
        "a.safetensors": {
            "words": info,
            "condition": {
                "kind": "canny",
                "low_threshold": 100,
                "high_threshold": 200,
                "blur": 0.0,
                "blocks": 8,
            },
        }
    }
    random_adapter(path, condition="colour 16")
    _, told = listed(comfy, "LocalControl_LoadAdapter")
    condition = told["a.safetensors"]["condition"]
    assert (condition["kind"], condition["blocks"]) == ("colour", 16)


@pytest.mark.parametrize("said", ["", "pose 3", "canny many", "colour nan", "canny inf 2"])
def test_a_condition_that_is_not_known_is_not_told(comfy, folder, said):
    random_adapter(folder / "a.safetensors", condition=said)
    _, told = listed(comfy, "LocalControl_LoadAdapter")
    assert told["a.safetensors"].keys() == {"words"}


def make(comfy, image, **inputs):
    options = {"low_threshold": 20, "high_threshold": 60, "blur": 2.0, "blocks": 4}
    return comfy.call("LocalControl_Condition", image=image, **options | inputs)[0]


@pytest.fixture
def image(generator):
    return torch.rand(1, 64, 64, 3, generator=generator)


def test_a_condition_follows_what_a_connected_adapter_says(comfy, folder, image):
    path = random_adapter(folder / "a.safetensors", condition="colour 16", in_channels=3)
    control, _ = comfy.call("LocalControl_LoadAdapter", adapter_name=path.name)
    found = make(comfy, image, kind="canny", control_net=control)
    assert torch.equal(found, make(comfy, image, kind="colour", blocks=16))
    assert not torch.equal(found, make(comfy, image, kind="colour"))


def test_options_that_an_adapter_does_not_tell_are_the_usual_ones(comfy, folder, image):
    path = random_adapter(folder / "a.safetensors", condition="canny 30 50")
    control, _ = comfy.call("LocalControl_LoadAdapter", adapter_name=path.name)
    found = make(comfy, image, kind="canny", control_net=control)
    usual = {"low_threshold": 30, "high_threshold": 50, "blur": 0.0}
    assert torch.equal(found, make(comfy, image, kind="canny", **usual))


def test_a_condition_keeps_its_own_kind_where_the_control_tells_none(comfy, folder, image):
    path = random_adapter(folder / "a.safetensors", condition="pose")
    control, _ = comfy.call("LocalControl_LoadAdapter", adapter_name=path.name)
    found = make(comfy, image, kind="sobel", control_net=control)
    assert torch.equal(found, make(comfy, image, kind="sobel"))


@pytest.mark.parametrize("node_id", ["LocalControl_LoadAdapter", "LocalControl_LocalControl"])
def test_a_name_that_is_yet_to_come_from_another_node_changes_nothing(comfy, node_id):
    told = comfy.nodes[node_id].fingerprint_inputs(adapter_name=None)
    assert told == comfy.nodes[node_id].fingerprint_inputs(adapter_name=None)


@pytest.mark.parametrize(
    "words",
    ["canny -5 99999", "canny 100 200 65", "colour 0", "colour 1e9", "canny nan", "canny a b"],
)
def test_a_condition_that_no_widget_takes_counts_as_none(comfy, words):
    condition_of = comfy.module("nodes.adapter_files").condition_of
    assert condition_of({"local_control.condition": words}) is None
    assert condition_of({"local_control.condition": "canny 150 300 1"})
