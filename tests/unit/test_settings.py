import pytest

from training.settings import CommandSettings


class Example(CommandSettings):
    seed: int = 0
    name: str = "x"


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["command", *arguments])
    return Example()


def test_flags_are_read_and_the_environment_is_not(monkeypatch):
    monkeypatch.setenv("NAME", "from the environment")
    monkeypatch.setenv("SEED", "9")
    found = run(monkeypatch, "--seed", "3")
    assert (found.seed, found.name) == (3, "x")


def test_unknown_flags_are_refused(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, "--sede", "3")
    assert "sede" in capsys.readouterr().err
