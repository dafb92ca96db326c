"""Closed loops in ComfyUI's own sampling."""

import pytest
import torch
from adapters import (
    CLOSE,
    SIZE,
    STEPS,
    apply,
    left,
    make_setup,
    region,
    sample,
)


@pytest.fixture(params=["sd15", "sdxl"])
def setup(comfy, request):
    return make_setup(comfy, request.param)


@pytest.fixture
def reference():
    return torch.randn(1, 4, *SIZE, generator=torch.Generator().manual_seed(5))


def close(setup, model, regions, reference, **kwargs):
    options = {"target": 0.8, "gain": 1.0, "lowest": 0.1, "highest": 10.0} | kwargs
    inputs = {"model": model, "regions": regions, "reference": {"samples": reference}}
    return setup.comfy.call("LocalControl_ClosedLoop", **inputs, **options)


def run(setup, model, regions, **kwargs):
    return sample(setup, *apply(setup, regions), model=model, **kwargs)


def test_without_gain_it_changes_nothing(setup, reference):
    regions = region(setup, left())
    plain = run(setup, setup.model, regions)
    looped = run(setup, *close(setup, setup.model, regions, reference, gain=0.0))
    torch.testing.assert_close(looped, plain, **CLOSE)


def test_strengths_rise_while_a_region_does_not_follow_and_fall_once_it_does(setup, reference):
    regions = region(setup, left())
    plain = run(setup, setup.model, regions)
    for target, direction in ((1.0, 1), (-1.0, -1)):
        model, tied = close(setup, setup.model, regions, reference, target=target)
        assert not torch.allclose(run(setup, model, tied), plain)
        assert (tied[0].loop.factor - 1) * direction > 0


def test_every_sampling_starts_anew(setup, reference):
    model, tied = close(setup, setup.model, region(setup, left()), reference)
    assert torch.equal(run(setup, model, tied), run(setup, model, tied))


def test_what_enters_leaves_unharmed(setup, reference):
    regions = region(setup, left())
    before = run(setup, setup.model, regions)
    run(setup, *close(setup, setup.model, regions, reference))
    assert regions[0].loop is None
    assert torch.equal(run(setup, setup.model, regions), before)


def test_each_region_can_have_a_reference_of_its_own(setup, reference):
    model, first = close(setup, setup.model, region(setup, left()), reference)
    model, both = close(setup, model, region(setup, 1 - left(), regions=first), -reference)
    assert both[0].loop is first[0].loop
    assert both[1].loop is not first[0].loop
    run(setup, model, both)
    assert both[0].loop.factor != both[1].loop.factor


def test_a_region_that_no_longer_acts_keeps_its_strength(setup, reference):
    early = region(setup, left(), end_percent=0.2)
    model, tied = close(setup, setup.model, early, reference, target=1.0, gain=0.1)
    run(setup, model, tied)
    assert 1 < tied[0].loop.factor < 1.25  # one step's worth


def test_a_reference_of_another_size_is_named(setup, reference):
    regions = region(setup, left())
    model, tied = close(setup, setup.model, regions, reference[..., :8])
    with pytest.raises(ValueError, match=r"reference of Closed Loop is .* pixels"):
        run(setup, model, tied)


@pytest.mark.parametrize(
    "sampler",
    ["euler", "heun", "dpm_2", "dpmpp_2s_ancestral", "dpmpp_sde", "sa_solver_pece", "seeds_3"],
)
def test_a_strength_changes_once_a_step_however_often_the_model_is_asked(
    comfy, reference, monkeypatch, sampler
):
    setup = make_setup(comfy, "sd15")
    updates, steering = [], comfy.module("local_control.steering")
    update = steering.StrengthLoop.update

    def note(loop, alignment):
        updates.append(alignment)
        update(loop, alignment)

    monkeypatch.setattr(steering.StrengthLoop, "update", note)
    run(setup, *close(setup, setup.model, region(setup, left()), reference), sampler=sampler)
    assert len(updates) == STEPS


def test_its_regions_without_its_model_are_named_at_the_first_step(setup, reference):
    _, tied = close(setup, setup.model, region(setup, left()), reference)
    steps = []
    with pytest.raises(ValueError, match="connect the model of Closed Loop to this sampler"):
        run(setup, setup.model, tied, callback=lambda *call: steps.append(call))
    assert steps == []


def test_its_model_without_its_regions_is_named_at_the_first_step(setup, reference):
    regions = region(setup, left())
    model, _ = close(setup, setup.model, regions, reference)
    for given in (regions, ()):
        with pytest.raises(ValueError, match="connect its regions to Apply Local Control"):
            run(setup, model, given)


def test_without_regions_the_model_goes_on_as_it_is(setup, reference):
    inputs = {"target": 0.8, "gain": 1.0, "lowest": 0.1, "highest": 10.0}
    given = {"model": setup.model, "reference": {"samples": reference}}
    model, regions = setup.comfy.call("LocalControl_ClosedLoop", **given, **inputs)
    assert model is setup.model
    assert regions == ()
