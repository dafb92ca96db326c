"""What a control's own tensors are multiplied by: which cells and tokens, and in which order."""

import pytest
import torch
from adapters import make_setup
from controls import local, prompts, region, sample
from images import picture
from small_controls import BUILDERS

SIZES = [(16, 16), (9, 13), (10, 9)]


def net(comfy, name):
    setup = BUILDERS[name]()
    setup.comfy, setup.name = comfy, name
    return setup


def first_tensors(setup, mask, size, **kwargs):
    """What the region's control gives the model at the first step, by place."""
    conds = local(setup, mask, picture(size), **kwargs)
    control, found = conds[0][0][1]["control"], []
    original = control.get_control

    def record(*call):
        out = original(*call)
        found.append({(k, i): t for k, row in out.items() for i, t in enumerate(row)})
        return out

    control.get_control = record
    sample(setup, *conds, size=size)
    return {place: tensor for place, tensor in found[0].items() if tensor is not None}


def cells(tensor, size):
    """A tensor as rows and columns of cells [B,rows,columns,C], and a cell's side in pixels."""
    if tensor.ndim > 3:
        rows, columns = tensor.shape[-2:]
        side = next(s for s in (1, 8, 16, 32, 64) if -(-8 * size[1] // s) == columns)
        return tensor.flatten(1, -3).movedim(1, -1), side
    for side in (16, 8, 32):
        rows, columns = (-(-8 * length // side) for length in size)
        if rows * columns == tensor.shape[1]:
            return tensor.unflatten(1, (rows, columns)), side
    raise AssertionError("no grid")


def check_the_right_cells_are_touched(setup, size):
    """White from the middle of the picture to its right side, at a border of cells and within."""
    for start in (4 * size[1], 8 * size[1] - 8):
        mask = torch.zeros(1, 8 * size[0], 8 * size[1])
        mask[..., start:] = 1
        whole = first_tensors(setup, torch.ones_like(mask), size)
        gated = first_tensors(setup, mask, size)
        assert whole.keys() == gated.keys()
        for place, tensor in gated.items():
            found, side = cells(tensor, size)
            full, _ = cells(whole[place], size)
            for column in range(found.shape[2]):
                pixels = torch.arange(column * side, (column + 1) * side).clamp(max=8 * size[1] - 1)
                share = (pixels >= start).float().mean()
                expected = full[:, :, column] * share
                torch.testing.assert_close(found[:, :, column], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", BUILDERS)
def test_only_cells_and_tokens_under_the_mask_are_touched(comfy, name, size):
    if name == "flux pictures" and size[0] % 2 + size[1] % 2:
        pytest.skip("ComfyUI's own XLabs controls fail at odd sizes")
    check_the_right_cells_are_touched(net(comfy, name), size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_only_cells_of_adapters_under_the_mask_are_touched(comfy, family, size):
    check_the_right_cells_are_touched(make_setup(comfy, family), size)


@pytest.mark.parametrize("name", [name for name in BUILDERS if name != "cascade"])
def test_grids_of_controls_are_known_before_they_run(comfy, name):
    setup = net(comfy, name)
    grids, gated = (
        comfy.module("nodes.sampler.control.grids"),
        comfy.module("nodes.sampler.control.any"),
    )
    region = gated.ControlRegion(condition=torch.zeros(1, 3, 128, 128), control=setup.control)
    tensors = first_tensors(setup, torch.ones(1, 128, 128), (16, 16))
    sides = {cells(tensor, (16, 16))[1] for tensor in tensors.values()}
    assert set(grids.cells_of(region)) == sides


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_grids_of_adapters_are_known_before_they_run(comfy, family):
    setup = make_setup(comfy, family)
    grids = comfy.module("nodes.sampler.control.grids")
    tensors = first_tensors(setup, torch.ones(1, 128, 128), (16, 16))
    sides = {cells(tensor, (16, 16))[1] for tensor in tensors.values()}
    (one,) = region(setup, torch.ones(1, 128, 128))
    assert set(grids.cells_of(one)) == sides


def silenced(setup, weights, size=(16, 16)):
    """The places of a control's tensors: those still heard, and those weighed to nothing."""
    tensors = first_tensors(setup, torch.ones(1, 128, 128), size, level_weights=weights)
    heard = {place for place, tensor in tensors.items() if tensor.any()}
    return tensors, heard


@pytest.mark.parametrize("name", ["sd15", "sdxl", "lora", "union"])
@pytest.mark.parametrize("weights", ["1, 0", "1, 1, 1, 0"])
def test_weights_of_a_controlnet_go_from_fine_maps_to_coarse_ones_and_the_middle(
    comfy, name, weights
):
    tensors, heard = silenced(net(comfy, name), weights)
    assert 0 < len(heard) < len(tensors)
    assert ("middle", 0) not in heard
    finest_silent = max(t.shape[-1] for place, t in tensors.items() if place not in heard)
    assert all(tensors[place].shape[-1] >= finest_silent for place in heard)


def test_weights_of_cascades_controls_start_at_the_first_block_which_is_last_in_its_list(comfy):
    tensors, heard = silenced(net(comfy, "cascade"), "1, 0, 0")
    assert heard == {max(tensors)}


@pytest.mark.parametrize("name", ["flux", "sd3", "qwen"])
def test_weights_of_tokens_keep_the_order_of_blocks(comfy, name):
    tensors, heard = silenced(net(comfy, name), "1, 0")
    places = list(tensors)
    assert 0 < len(heard) <= len(places)
    assert heard == set(places[: len(heard)])


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
@pytest.mark.parametrize("level", range(4))
def test_weights_of_adapters_go_from_fine_to_coarse(comfy, family, level):
    setup = make_setup(comfy, family)
    weights = ["0", "0", "0", "0"]
    weights[level] = "1"
    tensors, heard = silenced(setup, ", ".join(weights))
    # The UNet takes lists from their ends, so the finest level stands last.
    places = [place for place in sorted(tensors, reverse=True) if place[0] == "input"]
    places += [place for place in tensors if place[0] == "middle"]
    assert heard == {places[level]}


def test_prompts_without_control_are_left_alone(comfy):
    setup = make_setup(comfy, "sd15")
    only = local(setup, torch.ones(1, 128, 128), picture(), acts_on="positive")
    assert "control" in only[0][0][1]
    assert only[1][0][1].keys() == prompts(setup)[1][0][1].keys()
