"""Controls that cannot work in a region: one sentence each, and nothing else is hidden."""

import pytest
import torch
from controls import local, sample
from images import left, picture
from kinds import cast, make_kind
from small_controls import BUILDERS, unet
from small_models import build_model


def setup_of(comfy, name):
    setup = BUILDERS[name]()
    setup.comfy, setup.name = comfy, name
    return setup


@pytest.mark.parametrize(
    ("control", "model"),
    [
        ("sd15", "sdxl"),
        ("sdxl", "sd15"),
        ("sd15", "flux"),
        ("flux", "sd15"),
        ("sd3", "sdxl"),
        ("lora", "flux"),
    ],
)
def test_a_control_of_another_family_is_named_with_the_model_and_what_to_do(comfy, control, model):
    setup = setup_of(comfy, model)
    other = setup_of(comfy, control)
    if control == "sd15":  # the small families' texts are all as wide, and real ones are not
        other = unet(build_model("sd15"), context_dim=48)
    setup.control, setup.vae = other.control, other.vae
    controlled = local(setup, left())
    for _ in range(2):  # a control that could not be prepared does not spoil the next run
        with pytest.raises(ValueError, match="of region 1 does not fit the model") as error:
            sample(setup, *controlled)
    message = str(error.value)
    assert type(setup.model.model.model_config).__name__ in message
    assert "load a control made for" in message
    assert "\n" not in message


def test_one_that_acts_later_is_named_before_the_first_step(comfy):
    from comfy.patcher_extension import WrappersMP

    setup, runs = setup_of(comfy, "sdxl"), []

    def note(executor, *args, **kwargs):
        runs.append(1)
        return executor(*args, **kwargs)

    setup.model.add_wrapper(WrappersMP.DIFFUSION_MODEL, note)
    setup.control = unet(build_model("sd15"), context_dim=48).control
    with pytest.raises(ValueError, match="of region 1 does not fit the model"):
        sample(setup, *local(setup, left(), start_percent=0.6))
    assert not runs


def broken(setup, error):
    """The region's control fails by `error` when it is asked."""

    def fail(*call, **kwargs):
        raise error

    setup.control.control_model.forward = fail
    return setup


def test_memory_interrupts_and_failures_of_the_device_pass_as_they_are(comfy):
    from comfy.model_management import OOM_EXCEPTION, InterruptProcessingException

    for error in (
        OOM_EXCEPTION("no memory for a tensor of that size"),
        InterruptProcessingException(),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
    ):
        setup = broken(setup_of(comfy, "sd15"), error)
        with pytest.raises(type(error)) as raised:
            sample(setup, *local(setup, left()))
        assert raised.value is error


@pytest.mark.parametrize("name", ["flux", "sd3", "qwen", "hunyuan"])
def test_a_control_that_reads_latents_asks_for_a_vae_before_sampling(comfy, name):
    setup = setup_of(comfy, name)
    setup.vae = None
    with pytest.raises(ValueError, match=r"region 1 reads latents, .* connect the model's VAE"):
        local(setup, left())


@pytest.mark.parametrize("name", BUILDERS)
def test_pictures_that_fit_no_batch_are_refused_for_every_control(comfy, name):
    setup = setup_of(comfy, name)
    with pytest.raises(ValueError, match="3 condition images for 2 latents"):
        sample(setup, *local(setup, left(), picture(batch=3)), batch=2)


def test_regions_are_numbered_as_they_are_chained(comfy):
    setup = setup_of(comfy, "sd15")
    node = setup.comfy.nodes["LocalControl_Region"]
    first = node.execute(setup.control, picture(), left()).result[0]
    both = node.execute(setup.control, picture(), left(), regions=first).result[0]
    assert [region.number for region in both] == [1, 2]


def sound_through(model, conds):
    """What a guider returns of latents that are a row of values."""
    from comfy.samplers import CFGGuider, sampler_object

    guider = CFGGuider(model)
    guider.set_conds(*conds)
    options = {"seed": 0, "disable_pbar": True}
    row = torch.zeros(1, 64, 215)
    return guider.sample(row, row, sampler_object("euler"), torch.tensor([5.0, 0.0]), **options)


@pytest.mark.parametrize("outside", ["gated", "exact"])
@pytest.mark.parametrize("name", ["adapter sd15", "sd15"])
def test_regions_of_models_without_pictures_are_named_with_what_the_latents_are(
    comfy, name, outside
):
    kind = make_kind(comfy, name)
    with pytest.raises(ValueError, match="Region 1 cannot act on this model") as error:
        sound_through(kind.setup.model, kind.local(left(), outside=outside))
    assert "64 channels of 215 values in a row, as of sound or 3D shapes" in str(error.value)


def test_gate_predictions_names_what_latents_without_pictures_are(comfy):
    kind = make_kind(comfy, "adapter sd15")
    node = comfy.nodes["LocalControl_GatePredictions"]
    other = kind.setup.model.clone()
    model, *conds = node.execute(kind.setup.model, *kind.prompts(), left(), other).result
    with pytest.raises(ValueError, match=r"Gate Predictions cannot act .* 215 values in a row"):
        sound_through(model, conds)


def answered(comfy, values, steps=1, **region):
    """What a region of a control that returns `values` gives the model, step by step."""
    from comfy.controlnet import ControlBase

    class Returning(ControlBase):
        def copy(self):
            return Returning()

        def get_control(self, x, *rest):
            return {"input": [values.clone()], "middle": [values.clone()], "output": []}

    module = comfy.module("nodes.sampler.control.any")
    mask = comfy.module("local_control.region_mask").RegionMask(left()[None])
    options = {"condition": torch.zeros(1, 3, 128, 128), "mask": mask, "number": 2}
    control = module.GatedControl(module.ControlRegion(**options | region, control=Returning()))
    model = torch.nn.Module()
    model.manual_cast_dtype = torch.float32
    control.pre_run(model, lambda percent: 1 - percent)
    x = torch.zeros(1, 4, 16, 16, dtype=values.dtype)
    return [control.get_control(x, torch.tensor([1.0]), {}, 1, {}) for _ in range(steps)]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_control_that_gives_no_numbers_is_named_though_they_are_outside(comfy, value):
    values = torch.zeros(1, 4, 16, 16)
    values[..., -1] = value
    with pytest.raises(ValueError, match=r"The Returning of region 2 gives numbers .* black"):
        answered(comfy, values)


@pytest.mark.parametrize("weights", [{"curve": (0.0, 10.0)}, {"level_weights": (1.0, 10.0)}])
def test_one_that_a_curve_or_weights_take_beyond_the_precision_is_named(comfy, weights):
    values = torch.full((1, 4, 16, 16), 7000.0)
    assert answered(comfy, values, **weights)
    assert answered(comfy, values.half())
    with pytest.raises(ValueError, match=r"region 2 gives numbers .* too large for float16"):
        answered(comfy, values.half(), **weights)


def test_a_control_that_holds_more_than_the_model_does_is_named_in_a_sampling(comfy):
    setup = setup_of(comfy, "sd15")
    cast([setup.model.model.diffusion_model], torch.float16)
    setup.control.control_model.zero_convs[0][0].bias.fill_(7000.0)
    assert sample(setup, *local(setup, left())).isfinite().all()
    with pytest.raises(ValueError, match=r"region 1 gives numbers .* too large for float16"):
        sample(setup, *local(setup, left(), strength=10.0))


def test_weights_that_are_no_numbers_are_named_in_a_sampling(comfy):
    setup = setup_of(comfy, "sd15")
    setup.control.control_model.zero_convs[0][0].bias.fill_(float("nan"))
    with pytest.raises(ValueError, match="The ControlNet of region 1 gives numbers at strength 1"):
        sample(setup, *local(setup, left()))
