"""Many prompts, some interrupted, some out of memory: the next is the same, and nothing grows."""

import gc
import random

import pytest
import torch
from adapters import make_setup
from controls import apply, region, sample
from images import left, picture
from kinds import make_kind

ROUNDS = 40


class StopError(Exception):
    """Ends a sampling from within the model."""


@pytest.fixture
def setup(comfy):
    return make_setup(comfy, "sd15")


def stopped_at(model, call, error):
    """A clone of the model that raises at one of its runs."""
    from comfy.patcher_extension import WrappersMP

    left_over = [call]

    def stop(executor, *args, **kwargs):
        left_over[0] -= 1
        if left_over[0] < 0:
            raise error("ended")
        return executor(*args, **kwargs)

    model = model.clone()
    model.add_wrapper(WrappersMP.APPLY_MODEL, stop)
    return model


def tensors():
    gc.collect()
    return sum(issubclass(type(item), torch.Tensor) for item in gc.get_objects())


def test_the_next_run_is_the_same_whatever_came_before(setup):
    import comfy.model_management as memory

    errors = (memory.InterruptProcessingException, memory.OOM_EXCEPTION, StopError)
    draw = random.Random(0)
    both = region(setup, 1 - left(), picture(seed=7), regions=region(setup, left()))
    graphs = [apply(setup, both, outside=outside) for outside in ("gated", "exact")]
    wrapped = make_kind(setup.comfy, "sd15")
    conds = wrapped.local(left())
    graphs.append(conds)
    expected = [sample(setup, *graph) for graph in graphs]
    before = None
    for turn in range(ROUNDS):
        index = draw.randrange(len(graphs))
        if draw.random() < 0.6:
            model = stopped_at(setup.model, draw.randrange(2), draw.choice(errors))
            with pytest.raises(errors):
                sample(setup, *graphs[index], model=model)
        else:
            assert torch.equal(sample(setup, *graphs[index]), expected[index])
        if turn == ROUNDS // 2:
            before = tensors()
    found = [sample(setup, *graph) for graph in graphs]
    assert all(map(torch.equal, found, expected))
    del found
    assert tensors() <= before + 5


def held(control):
    """What a control and those before it have made for a sampling."""
    while control is not None:
        yield from (item for item in vars(control).values() if isinstance(item, dict) and item)
        control = control.previous_controlnet


@pytest.mark.parametrize("outside", ["gated", "exact", "stock"])
@pytest.mark.parametrize("name", ["adapter sd15", "sd15"])
def test_what_a_sampling_has_made_goes_with_it_however_it_ends(comfy, name, outside):
    from comfy.model_management import InterruptProcessingException

    kind = make_kind(comfy, name)
    if outside == "stock":
        if name == "sd15":
            pytest.skip("that is ComfyUI's own")
        conds = kind.stock()
    else:
        conds = kind.local(left(), outside=outside)
        conds = kind.local(1 - left(), None, positive=conds[0], negative=conds[1])
    control, seen = conds[0][0][1]["control"], []

    class WatchedError(StopError):
        def __init__(self, *words):
            super().__init__(*words)
            seen.append(any(held(control)))

    class WatchedInterrupt(InterruptProcessingException):
        def __init__(self, *words):
            super().__init__(*words)
            seen.append(any(held(control)))

    for error in (WatchedError, WatchedInterrupt):
        with pytest.raises(error):
            kind.sample(conds, model=stopped_at(kind.setup.model, 1, error))
        assert seen.pop()
        assert not any(held(control))
    kind.sample(conds)
    assert not any(held(control))
