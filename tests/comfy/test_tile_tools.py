"""TiledDiffusion's and TiledKSampler's own code: each tile has its part of condition and mask."""

import pytest
import torch
from adapters import core_control, make_setup
from controls import CLOSE
from images import left, picture
from kinds import make_kind
from other_packs import load_pack, module_of

STEPS = 2
TILE = 64  # pixels: an image of 128 has four of them, two on the white side of `half`
KINDS = ["adapter sd15", "adapter sdxl", "sd15"]


@pytest.fixture(scope="class")
def patched():
    """What TiledDiffusion replaces in ComfyUI, put back after its tests.

    Where it is loaded, TiledKSampler's tiles see the whole picture at every control: it has all of
    them cleaned up before a sampling, and with that what TiledKSampler has just cut for the tile.
    """
    import comfy.gligen
    import comfy.samplers
    import comfy_extras.nodes_sag

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in (
            (comfy.samplers.KSampler, "sample"),
            (comfy.samplers.KSAMPLER, "sample"),
            (comfy.samplers, "get_area_and_mult"),
            (comfy.samplers, "pre_run_control"),
            (comfy_extras.nodes_sag, "create_blur_map"),
            (comfy.gligen.Gligen, "_set_position"),
        ):
            patch.setattr(owner, name, getattr(owner, name))
        yield


@pytest.fixture(scope="class")
def tiled_diffusion(comfy, patched):
    """Samples by a method of TiledDiffusion: kind, prompts, method, tiles at once."""
    node = load_pack("TILED_DIFFUSION_PATH", "TiledDiffusion").NODE_CLASS_MAPPINGS["TiledDiffusion"]

    def run(kind, conds, method, tiles=4, overlap=0):
        (model,) = node().apply(kind.setup.model, method, TILE, TILE, overlap, tiles)
        return kind.sample(conds, model=model, steps=STEPS)

    return run


@pytest.fixture(scope="module")
def tiled_ksampler(comfy):
    """Samples by a strategy of TiledKSampler: kind, prompts, strategy."""
    pack = load_pack("TILED_KSAMPLER_PATH", "ComfyUI_TiledKSampler")
    node = module_of(pack, "nodes").TiledKSampler()

    def run(kind, conds, strategy):
        for (_, options), *_ in conds:  # it asks ControlNets for what they no longer have
            if "control" in options:
                options["control"].device = torch.device("cpu")
        latent = {"samples": torch.zeros(kind.shape())}
        options = 3, TILE, TILE, strategy, STEPS, 2.0, "euler", "normal"
        return node.sample(kind.setup.model, *options, *conds, latent, 1.0)[0]["samples"]

    return run


@pytest.fixture(params=KINDS)
def kind(comfy, request):
    """A kind of control; TiledDiffusion fails at stock adapters of one channel.

    Adapters are of ComfyUI's own loader, whose network pools odd tiles otherwise than ours does.
    """
    found = make_kind(comfy, request.param)
    if found.name.startswith("adapter"):
        found.setup = make_setup(comfy, found.setup.family, in_channels=3)
        found.setup.control = forgetful(core_control(found.setup))
    return found


def forgetful(control):
    """A stock adapter made to compute its features at every call.

    As it is, it keeps those of the first tiles for all others, to which TiledDiffusion gives it a
    picture without the word to look at it.
    """
    from comfy.controlnet import T2IAdapter

    class Forgetful(T2IAdapter):
        def get_control(self, *args):
            self.control_input = None
            return super().get_control(*args)

        def copy(self):
            copied = super().copy()
            copied.__class__ = Forgetful
            return copied

    control.__class__ = Forgetful
    return control


def check_halves(kind, run, outside):
    """Tiles that do not overlap: the white side is the plain control's, the other as without."""
    found = run(kind, kind.local(left(), outside=outside))
    plain, free = run(kind, kind.stock()), run(kind, kind.prompts())
    torch.testing.assert_close(found[..., :8], plain[..., :8], **CLOSE)
    assert torch.equal(found[..., 8:], free[..., 8:])
    assert not torch.allclose(plain[..., 8:], free[..., 8:])


@pytest.mark.parametrize("outside", ["gated", "exact"])
class TestTiledDiffusion:
    @pytest.mark.parametrize("tiles", [1, 4])
    @pytest.mark.parametrize("method", ["MultiDiffusion", "Mixture of Diffusers"])
    def test_tiles_on_the_white_side_alone_are_controlled(
        self, kind, tiled_diffusion, outside, method, tiles
    ):
        check_halves(kind, lambda *args: tiled_diffusion(*args, method, tiles), outside)

    @pytest.mark.parametrize("method", ["MultiDiffusion", "Mixture of Diffusers", "SpotDiffusion"])
    def test_a_full_mask_is_the_plain_control(self, kind, tiled_diffusion, outside, method):
        overlap = 0 if method == "SpotDiffusion" else 32
        conds = kind.local(torch.ones_like(left()), outside=outside)
        found = tiled_diffusion(kind, conds, method, overlap=overlap)
        plain = tiled_diffusion(kind, kind.stock(), method, overlap=overlap)
        torch.testing.assert_close(found, plain, **CLOSE)


def test_how_many_tiles_are_sampled_at_once_matters_to_stock_adapters_alone(kind, tiled_diffusion):
    """They keep the features of the first tiles, unless they are made to forget them."""
    if not kind.name.startswith("adapter"):
        pytest.skip("ControlNets run at every call")

    def by_number(conds):
        return [tiled_diffusion(kind, conds, "MultiDiffusion", tiles) for tiles in (1, 4)]

    torch.testing.assert_close(*by_number(kind.local(left())), **CLOSE)
    torch.testing.assert_close(*by_number(kind.stock()), **CLOSE)
    kind.setup.control = core_control(kind.setup)
    assert not torch.allclose(*by_number(kind.stock()))


def test_with_tiled_diffusion_loaded_tiles_of_the_other_see_the_whole_picture_of_stock_controls(
    comfy, tiled_diffusion, tiled_ksampler
):
    kind, image = make_kind(comfy, "sd15"), picture()
    other = torch.where(left()[..., None] == 1, image, picture(seed=9))
    one, two = (tiled_ksampler(kind, kind.stock(each), "simple") for each in (image, other))
    assert not torch.allclose(one[..., :8], two[..., :8])


@pytest.mark.parametrize("outside", ["gated", "exact"])
class TestTiledKSampler:
    def test_tiles_on_the_white_side_alone_are_controlled(self, kind, tiled_ksampler, outside):
        check_halves(kind, lambda *args: tiled_ksampler(*args, "simple"), outside)

    @pytest.mark.parametrize("strategy", ["random", "padded"])
    def test_a_full_mask_is_the_plain_control(self, kind, tiled_ksampler, outside, strategy):
        conds = kind.local(torch.ones_like(left()), outside=outside)
        found = tiled_ksampler(kind, conds, strategy)
        torch.testing.assert_close(found, tiled_ksampler(kind, kind.stock(), strategy), **CLOSE)
