import logging

import pytest
import torch
from full_disk import fill_disk
from safetensors.torch import load_file, save_file
from torch import nn

from training.loop.state import StateError, TrainState, list_states


def make(seed=0, kind=torch.optim.AdamW):
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    optimizer = kind(module.parameters(), lr=0.01)
    return TrainState({"model": module}, optimizer)


def step(state):
    generator = torch.Generator().manual_seed(state.step)
    x = torch.randn(3, 4, generator=generator)
    state.modules["model"](x).square().sum().backward()
    state.optimizer.step()
    state.optimizer.zero_grad()
    state.step += 1


class Wrapping(torch.optim.SGD):
    """Keeps its state as bitsandbytes does: a number, and tensors in a dictionary of their own."""

    def step(self, closure=None):
        for parameter in self.param_groups[0]["params"]:
            state = self.state[parameter]
            state.setdefault("moment", torch.zeros_like(parameter)).add_(parameter.grad)
            state["step"] = state.get("step", 0) + 1
            parameter.data -= state["moment"] / range(0, 10_000, 100)[state["step"]]  # wants an int

    def state_dict(self):
        found = super().state_dict()
        found["state"] = {
            index: {"step": values["step"], "wrapped": {"moment": values["moment"]}}
            for index, values in found["state"].items()
        }
        return found

    def load_state_dict(self, state_dict):
        state = {
            index: {"step": values["step"], **values["wrapped"]}
            for index, values in state_dict["state"].items()
        }
        super().load_state_dict({"state": state, "param_groups": state_dict["param_groups"]})


def weights(state):
    return torch.cat([p.flatten() for p in state.modules["model"].parameters()])


@pytest.mark.parametrize("kind", [torch.optim.AdamW, Wrapping])
def test_a_resumed_run_is_bit_equal_to_one_that_never_stopped(tmp_path, kind):
    whole = make(kind=kind)
    for _ in range(6):
        step(whole)
    first = make(kind=kind)
    for _ in range(3):
        step(first)
    first.save(tmp_path)
    resumed = make(seed=1, kind=kind)
    assert resumed.load_latest(tmp_path)
    assert resumed.step == 3
    for _ in range(3):
        step(resumed)
    assert torch.equal(weights(resumed), weights(whole))


def test_what_is_written_again_after_going_back_is_set_aside_too(tmp_path):
    state = make()
    for _ in range(3):
        step(state)
        state.save(tmp_path, keep=3)
    left = {path.with_suffix(".aside").name: path.read_bytes() for path in list_states(tmp_path)}
    other = make(seed=1)
    other.step = 2
    other.save(tmp_path, keep=3)
    assert [path.name for path in list_states(tmp_path)] == [
        "state-00000001.safetensors",
        "state-00000002.safetensors",
    ]
    aside = {path.name: path.read_bytes() for path in tmp_path.glob("*.aside")}
    assert aside == {name: left[name] for name in left if "0001" not in name}


def test_a_run_that_diverged_leaves_its_checkpoints(tmp_path):
    state = make()
    step(state)
    path = state.save(tmp_path)
    kept = path.read_bytes()
    step(state)
    with torch.no_grad():
        state.modules["model"][1].bias[0] = torch.nan
    with pytest.raises(StateError, match=r"At step 2 the run has diverged: module.model.1.bias"):
        state.save(tmp_path)
    assert path.read_bytes() == kept
    assert list_states(tmp_path) == [path]


def test_only_the_newest_states_are_kept(tmp_path):
    state = make()
    for _ in range(5):
        step(state)
        state.save(tmp_path, keep=2)
    assert [path.name for path in list_states(tmp_path)] == [
        "state-00000004.safetensors",
        "state-00000005.safetensors",
    ]


def test_a_damaged_state_is_named_and_the_one_before_it_used(tmp_path, caplog):
    state = make()
    for _ in range(2):
        step(state)
        newest = state.save(tmp_path)
    newest.write_bytes(newest.read_bytes()[:-10])
    found = make(seed=1)
    with caplog.at_level(logging.WARNING):
        assert found.load_latest(tmp_path)
    assert found.step == 1
    assert newest.name in caplog.text


@pytest.mark.parametrize("notes", ["{broken", '{"step": 1}'])
def test_a_state_whose_notes_are_damaged_is_passed_over(tmp_path, notes):
    state = make()
    for _ in range(2):
        step(state)
        newest = state.save(tmp_path)
    save_file(load_file(newest), newest, metadata={"step": "two", "notes": notes})
    assert state.load_latest(tmp_path)
    assert state.step == 1


def test_nothing_to_resume_leaves_the_state_alone(tmp_path):
    state = make()
    before = weights(state)
    assert not state.load_latest(tmp_path)
    assert torch.equal(weights(state), before)


def test_a_full_disk_loses_nothing_and_is_named(tmp_path, monkeypatch):
    state = make()
    step(state)
    state.save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    step(state)

    fill_disk(monkeypatch)
    with pytest.raises(StateError, match="Free some space"):
        state.save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_notes_are_kept(tmp_path):
    state = make()
    step(state)
    state.notes["best"] = 0.5
    state.save(tmp_path)
    fresh = make()
    fresh.load_latest(tmp_path)
    assert fresh.notes == {"best": 0.5}
