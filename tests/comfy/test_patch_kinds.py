"""Every kind of model patch that acts as a control: gated, and cut as tools for tiles cut it."""

import importlib
import os
import re
import sys
from pathlib import Path

import pytest
import torch
from images import left, stripes, top
from kinds import cast, windowed
from small_patches import BUILDERS, SIZE, MissingError

CLOSE = {"rtol": 1e-3, "atol": 1e-3}


@pytest.fixture(params=BUILDERS)
def setup(comfy, request):
    torch.manual_seed(0)
    try:
        found = BUILDERS[request.param]()
    except MissingError as missing:
        pytest.skip(str(missing))
    found.gate = lambda mask: (
        comfy.nodes["LocalControl_GatePatches"].execute(found.patched, mask).result[0]
    )
    return found


def sample(setup, model, batch=1, size=(SIZE, SIZE), text=None, **changes):
    import comfy.sample

    shape = (batch, *setup.shape, *size)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    options = {"steps": 2, "cfg": 2.0} | changes
    options |= {"sampler_name": "euler", "scheduler": "simple"}
    text = text or setup.text
    options |= {"positive": text(0), "negative": text(1)}
    return comfy.sample.sample(
        model, noise, latent_image=torch.zeros(shape), seed=0, disable_pbar=True, **options
    )


def free(setup, **options):
    """Without control, which of some is in the prompts."""
    return sample(setup, setup.model, text=getattr(setup, "free", None), **options)


def test_a_white_mask_is_bit_equal_to_the_plain_patch(setup):
    plain = sample(setup, setup.patched)
    assert torch.equal(sample(setup, setup.gate(torch.ones_like(left()))), plain)
    assert not torch.allclose(plain, free(setup))


def test_a_latent_with_a_black_mask_is_bit_equal_to_no_patch(setup):
    if is_video(setup):
        pytest.skip("masks of a video are of its frames, not of latents")
    masks = torch.cat([torch.zeros_like(left()), torch.ones_like(left())])
    found, without = sample(setup, setup.gate(masks), batch=2), free(setup, batch=2)
    assert torch.equal(found[0], without[0])
    assert not torch.allclose(found[1], without[1])


def test_left_and_top_are_not_the_same(setup):
    one, other = (sample(setup, setup.gate(mask)) for mask in (left(), top()))
    assert not torch.allclose(one, other)


def test_latents_of_odd_sizes_keep_white_equal_to_the_plain_patch(setup):
    if {"reference_latents", "vace_frames"} & setup.text()[0][1].keys():
        pytest.skip("ComfyUI wants a latent of the size of what is in the prompt")
    size = (SIZE, SIZE + 6)  # Z-Image pads these tokens
    plain = sample(setup, setup.patched, size=size)
    white = torch.ones(1, 8 * size[0], 8 * size[1])
    assert torch.equal(sample(setup, setup.gate(white), size=size), plain)
    assert not torch.allclose(plain, sample(setup, setup.gate(left()), size=size))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_white_is_the_plain_patch(setup, dtype):
    patches = [patch.model for patch in setup.patched.model_patches_models()]
    cast([setup.model.model.diffusion_model, *patches], dtype)
    white, gated = (
        sample(setup, setup.gate(mask), steps=1) for mask in (torch.ones_like(left()), left())
    )
    assert torch.equal(white, sample(setup, setup.patched, steps=1))
    assert gated.isfinite().all()
    assert not torch.allclose(gated, white)
    assert not torch.allclose(gated, free(setup, steps=1))


def test_in_context_windows_each_latent_has_its_mask(setup):
    if is_video(setup):
        pytest.skip("masks of a video are of its frames, not of latents")
    # ComfyUI 0.3.75 compares six latents with the noise levels of as many steps and one.
    run = {"batch": 6, "steps": 5}
    model = setup.gate(stripes(6))
    whole = sample(setup, model, **run)
    found = sample(setup, windowed(model, 4), **run)
    torch.testing.assert_close(found, whole, **CLOSE)
    assert not torch.allclose(found, sample(setup, setup.gate(left()), **run))


def is_video(setup):
    return len(setup.shape) == 2 and setup.shape[1] > 1


def test_a_second_gate_says_that_all_have_a_mask(comfy, setup):
    gated = setup.gate(left())
    with pytest.raises(ValueError, match="have a mask already"):
        comfy.nodes["LocalControl_GatePatches"].execute(gated, left())


def test_vace_takes_one_mask_and_a_mask_for_each_frame(comfy):
    setup = BUILDERS["Wan VACE"]()
    gate = comfy.nodes["LocalControl_GatePatches"].execute
    none = gate(setup.model, torch.full((1, 128, 128), 0.3)).result[0]
    with pytest.raises(ValueError, match="have a mask already"):
        gate(none, left())
    masks = torch.cat([torch.zeros_like(left()), left(), torch.ones_like(left())])
    found = sample(setup, gate(setup.model, masks).result[0])
    assert not torch.allclose(found, sample(setup, setup.model))
    assert not torch.allclose(found, free(setup))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("strength", [1.0, 0.7, 1.3])
def test_vace_with_a_white_mask_is_bit_equal_in_half_precision(comfy, dtype, strength):
    setup, found = BUILDERS["Wan VACE"](), {}
    network = setup.model.model.diffusion_model
    network.to(dtype).dtype = dtype
    for embedding in (network.patch_embedding, network.vace_patch_embedding):
        embedding.float()  # as ComfyUI has them
    gated = comfy.nodes["LocalControl_GatePatches"].execute(setup.model, torch.ones_like(left()))
    for model in (setup.model, gated.result[0]):
        found[model] = sample(setup, model, text=lambda seed: setup.text(seed, strength))
    assert torch.equal(*found.values())
    assert found[setup.model].isfinite().all()
    assert not torch.equal(found[setup.model], free(setup))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("form", ["AfterBlock", "BeforeAttention", "BeforeMlp", "MapGate"])
def test_in_half_precision_white_is_the_patch_and_black_nothing(comfy, form, dtype):
    mask = comfy.module("local_control.region_mask").RegionMask(left()[:, None])
    view = comfy.module("nodes.sampler.control.view")
    x, options = torch.zeros(2, 16, SIZE, SIZE, dtype=dtype), {"transformer_options": {}}
    options = view.note_areas(
        lambda model, conds, x, timestep, options: options, None, [], x, None, options
    )["transformer_options"]
    generator = torch.Generator().manual_seed(0)
    shape = (2, 8, 8, 6) if form != "MapGate" else (2, 6, 8, 8)
    before, after = (torch.randn(shape, generator=generator).to(dtype) for _ in range(2))

    def change(value):
        value = value.reshape(after.shape)
        return (value + after).reshape(2, -1, 6) if form != "MapGate" else value + after

    if form == "MapGate":
        gate = comfy.module("nodes.sampler.control.unet_patch").MapGate(mask)
        found = gate.let_in(before, change(before), options).movedim(1, -1)
        before, wanted = before.movedim(1, -1), change(before).movedim(1, -1)
    else:
        forms = comfy.module("nodes.sampler.control.gated_patch")
        tokens, around = before.reshape(2, -1, 6), getattr(forms, form).around
        if form == "AfterBlock":
            patch = around(lambda args: {"img": change(args["img"])}, mask)
            found = patch({"img": tokens, "x": x, "transformer_options": options})["img"]
        elif form == "BeforeAttention":
            patch = around(lambda q, k, v, extra_options: {"q": change(q), "k": k, "v": v}, mask)
            found = patch(tokens, tokens, tokens, extra_options=options)["q"]
        else:
            patch = around(lambda args: {**args, "x": change(args["x"])}, mask)
            found = patch({"x": tokens, "transformer_options": options})["x"]
        found, wanted = found.reshape(2, 8, 8, 6), change(before).reshape(2, 8, 8, 6)
    assert found.dtype == dtype
    assert torch.equal(found[:, :, :4], wanted[:, :, :4])
    assert torch.equal(found[:, :, 4:], before[:, :, 4:])


def cut_as_tools_do(model, box):
    """The picture of a patch cut in place and the patch made anew, as tile upscalers do it."""
    top, side, bottom, right = box
    for row in model.model_options["transformer_options"]["patches"].values():
        for patch in row:
            assert type(patch).__name__ in ("DiffSynthCnetPatch", "ZImageControlPatch")
            cut = patch.image[:, top:bottom, side:right, :]
            patch.image = cut
            patch.encoded_image_size = (cut.shape[1], cut.shape[2])
            patch.__init__(patch.model_patch, patch.vae, cut, patch.strength, mask=patch.mask)
        return


@pytest.mark.parametrize("name", ["Qwen DiffSynth", "Z-Image"])
class TestTiles:
    """Tools find the picture of a gated patch with its masks, and cut both."""

    @pytest.fixture
    def setup(self, comfy, name):
        torch.manual_seed(0)
        try:
            found = BUILDERS[name]()
        except MissingError as missing:
            pytest.skip(str(missing))
        found.comfy = comfy
        return found

    def gate(self, setup, mask):
        return setup.comfy.nodes["LocalControl_GatePatches"].execute(setup.patched, mask).result[0]

    def test_a_tile_has_its_part_of_the_mask(self, setup):
        model = self.gate(setup, left())
        cut_as_tools_do(model, (0, 32, 64, 96))
        found = sample(setup, model, size=(8, 8))
        own = left((8, 8))  # the tile's left half is white too
        assert torch.equal(found, sample(setup, self.gate(setup, own), size=(8, 8)))

    def test_a_tile_outside_the_mask_is_bit_equal_to_no_patch(self, setup):
        model = self.gate(setup, left())
        cut_as_tools_do(model, (0, 64, 64, 128))
        found = sample(setup, model, size=(8, 8))
        assert torch.equal(found, sample(setup, setup.model, size=(8, 8)))

    def test_what_a_tool_puts_back_is_whole_again(self, setup):
        model = self.gate(setup, left())
        before = sample(setup, model)
        (patch, *_), *_ = model.model_options["transformer_options"]["patches"].values()
        whole, encoded = patch.image.clone(), patch.encoded_image.clone()
        size = patch.encoded_image_size
        cut_as_tools_do(model, (0, 64, 64, 128))
        patch.image, patch.encoded_image, patch.encoded_image_size = whole, encoded, size
        assert torch.equal(sample(setup, model), before)

    def test_the_cropping_code_of_ultimate_sd_upscale(self, setup, name, monkeypatch):
        path = os.environ.get("USDU_PATH")
        if not path:
            pytest.skip("set USDU_PATH to a folder of Ultimate SD Upscale to run its own code")
        if name != "Z-Image":
            pytest.skip("version 1.8 asks this patch for an inpaint_image that it does not have")
        monkeypatch.syspath_prepend(Path(path))
        crop = importlib.import_module("crop_model_patch").crop_model_cond
        gated = self.gate(setup, left())
        before = sample(setup, gated)
        options = {"init_size": (128, 128), "canvas_size": (128, 128), "tile_size": (64, 64)}
        with crop(gated, (32, 0, 96, 64), **options) as model:
            found = sample(setup, model, size=(8, 8))
            own = sample(setup, self.gate(setup, left((8, 8))), size=(8, 8))
        assert torch.equal(found, own)
        assert torch.equal(sample(setup, gated), before)
        sys.modules.pop("usdu_utils", None)


def test_a_patch_that_is_gated_behind_gate_predictions_stays_in_its_mask_too(comfy):
    setup = BUILDERS["Qwen DiffSynth"]()
    pair = setup.text(0), setup.text(1)
    first = comfy.nodes["LocalControl_GatePredictions"].execute(
        setup.patched, *pair, top(), model_without=setup.model
    )
    model = comfy.nodes["LocalControl_GatePatches"].execute(first.result[0], left()).result[0]
    found, without = sample(setup, model, steps=1), sample(setup, setup.model, steps=1)
    assert torch.equal(found[..., 8:, :], without[..., 8:, :])
    assert not torch.allclose(found[..., :8, :], without[..., :8, :])


def omni(name):
    """Z-Image with a picture that it refers to, whose tokens come before the latent's."""
    setup = BUILDERS[name]()
    reference = torch.randn(1, 16, SIZE, SIZE, generator=torch.Generator().manual_seed(9))
    own = setup.text

    def referring(seed=0):
        ((embedding, values),) = own(seed)
        return [[embedding, {**values, "reference_latents": [reference]}]]

    setup.text = referring
    return setup


@pytest.mark.parametrize("name", ["Z-Image", "Z-Image with a refiner"])
def test_zimage_with_references_is_gated_as_far_as_comfyui_has_it(comfy, name):
    torch.manual_seed(0)
    try:
        setup = omni(name)
    except MissingError as missing:
        pytest.skip(str(missing))
    white = comfy.nodes["LocalControl_GatePatches"].execute(setup.patched, 1 + 0 * left()).result[0]
    try:
        plain = sample(setup, setup.patched)
    except RuntimeError as error:  # its time embeddings there are of references and latents
        with pytest.raises(RuntimeError, match=re.escape(str(error))):
            sample(setup, white)
        return
    assert torch.equal(sample(setup, white), plain)
    assert not torch.allclose(plain, free(setup))


def test_where_references_come_first_the_refiner_is_gated_where_comfyuis_patch_adds(comfy):
    """To the first tokens, unless it is told where the latent's begin."""

    def adding(args):
        args["img"][:, args.get("img_offset", 0) :][:, :64] += 1
        return args

    mask = comfy.module("local_control.region_mask").RegionMask(left()[:, None])
    gated = comfy.module("nodes.sampler.control.gated_patch").AfterBlock.around(adding, mask)
    for told, start in (({}, 0), ({"img_offset": 96}, 96)):
        call = {"img": torch.zeros(2, 96 + 64, 3), "x": torch.zeros(2, 16, SIZE, SIZE), **told}
        found = gated(call)["img"]
        rows = found[:, start : start + 64].reshape(2, 8, 8, 3)
        assert (rows[:, :, :4] == 1).all()
        assert (rows[:, :, 4:] == 0).all()
        rows[:] = 0
        assert not found.any()
