"""Optimisers by their names: each steps, and goes on from its state as if it had not stopped."""

import json

import pytest
import torch
from safetensors import safe_open
from small_runs import learnt, start

from training.config.machine import MachineError, check_machine
from training.config.optimiser_flags import PACKAGES
from training.loop.optimisation import Stepping
from training.loop.state import TrainState, list_states

STEPS = {"max_train_steps": 4, "checkpointing_steps": 2}
RATES = {"prodigy": 1.0}


def needs(name):
    """Skip where the library of an optimiser is not there, and 8 bits where there is no GPU."""
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name].module)
    if name == "adamw_8bit" and not torch.cuda.is_available():
        pytest.skip("needs a GPU")


@pytest.mark.parametrize("name", ["adafactor", "adamw_8bit", "lion", "prodigy"])
def test_each_learns_and_a_resumed_run_ends_with_the_same_bytes(run, tmp_path, name):
    needs(name)
    options = {"optimizer": name, "learning_rate": RATES.get(name, 1e-3), **STEPS}
    whole = run("whole", **options)
    assert not torch.equal(learnt(tmp_path / "whole"), start(tmp_path / "whole"))
    run("half", **options)
    list_states(tmp_path / "half")[-1].unlink()
    assert run("half", resume_from_checkpoint="latest", **options) == whole


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_a_library_that_is_missing_is_named_as_pip_knows_it(make_settings, monkeypatch, name):
    monkeypatch.setattr("training.config.machine.find_spec", lambda module: None)
    settings = make_settings(optimizer=name, learning_rate=1.0)
    with pytest.raises(MachineError, match=f"pip install {PACKAGES[name].pip}, or use"):
        check_machine(settings)


def test_both_names_of_8_bit_adam_are_one_run(make_settings):
    one, other = make_settings(use_8bit_adam=True), make_settings(optimizer="adamw_8bit")
    assert one.resolved() == other.resolved()
    assert not one.differences(other.resolved())


@pytest.mark.parametrize(
    ("module", "kind", "name", "told"),
    [
        ("bitsandbytes.optim", "AdamW8bit", "adamw_8bit", {"betas", "eps"}),
        ("lion_pytorch", "Lion", "lion", {"betas"}),
        ("prodigyopt", "Prodigy", "prodigy", {"betas", "eps", "safeguard_warmup"}),
    ],
)
def test_libraries_are_told_what_they_know(monkeypatch, module, kind, name, told):
    seen = {}
    stand_in = type("Module", (), {kind: lambda parameters, **options: seen.update(options)})
    for part in (module.partition(".")[0], module):
        monkeypatch.setitem(__import__("sys").modules, part, stand_in)
    Stepping(name, (0.8, 0.9), 0.1, 1e-7).new([], 0.5)
    assert told <= seen.keys()
    assert (seen["lr"], seen["weight_decay"], seen["betas"]) == (0.5, 0.1, (0.8, 0.9))


class Doubling(torch.optim.Optimizer):
    """Stands for Prodigy: what it knows of its step is kept with the group of parameters."""

    def __init__(self, parameters):
        super().__init__(parameters, {"lr": 1.0, "d": 1e-3, "k": 0, "betas": (0.9, 0.99)})

    def step(self, closure=None):
        (group,) = self.param_groups
        for parameter in group["params"]:
            parameter.data -= group["d"]
        group |= {"d": 2 * group["d"], "k": group["k"] + 1}


def test_what_an_optimiser_knows_of_a_group_is_kept(tmp_path):
    def state():
        module = torch.nn.Linear(2, 2, dtype=torch.float64)
        return TrainState({"adapter": module}, Doubling(module.parameters()))

    whole = state()
    for _ in range(3):
        whole.optimizer.step()
    whole.step = 3
    path = whole.save(tmp_path)
    again = state()
    again.load(path)
    assert again.optimizer.param_groups[0]["d"] == pytest.approx(8e-3)
    assert again.optimizer.param_groups[0]["k"] == 3
    for resumed in (whole, again):
        resumed.optimizer.step()
    assert torch.equal(*(s.modules["adapter"].weight for s in (whole, again)))
    with safe_open(path, framework="pt") as file:
        (group,) = json.loads(file.metadata()["groups"])
    assert "lr" not in group  # it is a function of the step
