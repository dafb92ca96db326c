import pytest

from training.config.commands import CommandSettings, read_settings


class Example(CommandSettings):
    seed: int = 0
    name: str = "x"
    loud: bool = False


def test_flags_are_read_and_the_environment_is_not(monkeypatch):
    monkeypatch.setenv("NAME", "from the environment")
    monkeypatch.setenv("SEED", "9")
    found = read_settings(Example, ["--seed", "3", "--loud"])
    assert (found.seed, found.name, found.loud) == (3, "x", True)


def test_unknown_flags_are_refused():
    with pytest.raises(SystemExit, match="--sede"):
        read_settings(Example, ["--sede", "3"])
