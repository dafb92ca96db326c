"""What a machine cannot do is said before anything is made, and out of memory in a sentence."""

import logging
import signal
from types import SimpleNamespace

import pytest
import torch

from training import cache, evaluate
from training.config.machine import MachineError, check_machine
from training.config.processes import end_as_by_hand
from training.errors import one_sentence


@pytest.fixture(autouse=True)
def a_bare_machine(monkeypatch):
    """No GPU, no bf16, no packages that are optional."""
    monkeypatch.setattr("training.config.machine.on_cpu", lambda: True)
    monkeypatch.setattr("training.config.machine.fast_bf16", lambda: False)
    monkeypatch.setattr("training.config.machine.find_spec", lambda name: None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"report_to": "wandb"}, "pip install wandb, or use none"),
        ({"mixed_precision": "fp16"}, "needs a GPU"),
    ],
)
def test_what_is_not_there_is_named(make_settings, changes, message):
    with pytest.raises(MachineError, match=message):
        check_machine(make_settings(**changes))


@pytest.mark.parametrize("name", ["DEEPSPEED", "MEGATRON_LM"])
def test_sharding_what_is_trained_is_refused_in_a_sentence(make_settings, monkeypatch, name):
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")
    with pytest.raises(MachineError, match="launch with --use_fsdp") as error:
        check_machine(make_settings())
    assert name.lower().replace("_", "") in str(error.value).lower().replace("-", "")


def test_a_base_that_processes_share_is_not_compiled(make_settings, monkeypatch):
    check_machine(make_settings(torch_compile=True))
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    check_machine(make_settings(torch_compile=True))  # one process has nobody to share with
    peers = SimpleNamespace(num_processes=2)
    monkeypatch.setattr("training.config.processes.process_state", lambda: peers)
    check_machine(make_settings())
    with pytest.raises(MachineError, match="--torch_compile does not go with a base"):
        check_machine(make_settings(torch_compile=True))


def test_what_a_gpu_cannot_repeat_is_refused(make_settings, monkeypatch):
    monkeypatch.setattr("training.config.machine.on_cpu", lambda: False)
    check_machine(make_settings(deterministic=True))
    with pytest.raises(MachineError, match="no deterministic kernel"):
        check_machine(make_settings(deterministic=True, edge="laplacian"))


def test_what_is_slow_is_told_of(make_settings, caplog):
    check_machine(make_settings())
    assert not caplog.text
    with caplog.at_level(logging.WARNING):
        check_machine(make_settings(mixed_precision="bf16"))
    assert "emulates it" in caplog.text


def test_memory_that_is_not_enough_is_a_sentence():
    with pytest.raises(SystemExit, match=r"memory\. Lower it"), one_sentence("Lower it."):
        raise torch.OutOfMemoryError
    with pytest.raises(SystemExit, match=r"^Out of memory\. Lower it"), one_sentence("Lower it."):
        torch.empty(2**60)
    with pytest.raises(RuntimeError, match="shape"), one_sentence("Lower it."):
        torch.zeros(2).view(3)


def test_a_stop_before_the_first_step_is_a_sentence():
    end_as_by_hand()
    with pytest.raises(SystemExit, match="same command goes on"), one_sentence(""):
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize(
    ("command", "first", "flags"),
    [
        (cache, "open_source", "--train_data_dir x"),
        (evaluate, "open_base", "--eval_data_dir {folder} --adapters a={adapter}"),
    ],
)
def test_commands_say_it_in_a_sentence(
    monkeypatch, picture_folder, adapter_file, command, first, flags
):
    def full(*_, **__):
        raise torch.OutOfMemoryError

    flags = flags.format(folder=picture_folder, adapter=adapter_file)
    monkeypatch.setattr(command, first, full)
    monkeypatch.setattr(
        "sys.argv", ["command", "--pretrained_model_name_or_path", "base", *flags.split()]
    )
    with pytest.raises(SystemExit, match="Out of GPU memory"):
        command.main()
