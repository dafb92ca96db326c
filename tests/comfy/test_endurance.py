"""Many prompts, some interrupted, some out of memory: the next is the same, and nothing grows."""

import gc
import random

import pytest
import torch
from adapters import apply, left, make_setup, picture, region, sample
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
            model = stopped_at(setup.model, draw.randrange(3), draw.choice(errors))
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


def test_what_a_failed_run_leaves_goes_with_the_next(setup):
    """Features of a sampling that was ended are not kept beside those of the next one."""
    conds = apply(setup, region(setup, left()))
    control = conds[0][0][1]["control"]
    with pytest.raises(StopError):
        sample(setup, *conds, model=stopped_at(setup.model, 1, StopError))
    sample(setup, *conds)
    kept = [item for item in vars(control).values() if isinstance(item, dict)]
    assert kept
    assert not any(kept)
    assert torch.equal(sample(setup, *conds), sample(setup, *apply(setup, region(setup, left()))))
