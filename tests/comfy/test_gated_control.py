"""GatedControl: what is special to ComfyUI's own controls in a region."""

import torch
from controls import local, prompts, sample
from images import SIZE, left, picture
from small_controls import flux


def test_inpaint_controls_get_the_regions_mask_as_comfyuis_own_node_gives_it(comfy):
    from comfy_extras.nodes_controlnet import ControlNetInpaintingAliMamaApply

    setup = flux(inpaint=True)
    setup.comfy, setup.name = comfy, "flux"
    ones = torch.ones(1, 128, 128)
    theirs = ControlNetInpaintingAliMamaApply.execute(
        *prompts(setup), setup.control, setup.vae, picture(), ones, 1.0, 0.0, 1.0
    ).result
    assert torch.equal(sample(setup, *local(setup, ones)), sample(setup, *theirs))
    theirs = ControlNetInpaintingAliMamaApply.execute(
        *prompts(setup), setup.control, setup.vae, picture(), left(), 1.0, 0.0, 1.0
    ).result
    view = comfy.module("local_control.view").View(SIZE, SIZE)
    (region,) = local(setup, left())[0][0][1]["control"].regions
    ours, stock_control = region.inner(view, 1), theirs[0][0][1]["control"]
    assert torch.equal(ours.cond_hint_original, stock_control.cond_hint_original)
    assert torch.equal(ours.extra_concat_orig[0], stock_control.extra_concat_orig[0])
    assert sample(setup, *local(setup, left())).isfinite().all()
