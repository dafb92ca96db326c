"""Files appear whole or not at all, whoever else writes them and whatever goes wrong."""

import os

import pytest
from safetensors import SafetensorError

from training.data.files import WriteError, write_whole


def test_nothing_is_seen_before_it_is_whole(tmp_path):
    path = tmp_path / "new" / "a.json"

    def write(partial):
        partial.write_text("half")
        assert not path.exists()
        partial.write_text("whole")

    write_whole(path, write)
    assert [(p.name, p.read_text()) for p in path.parent.iterdir()] == [("a.json", "whole")]


def test_two_processes_may_write_the_same_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"

    def write(partial):
        partial.write_text("one")
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: 1)
            write_whole(path, lambda other: other.write_text("two"), shared=True)

    write_whole(path, write, shared=True)
    assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(28, "No space left on device"), WriteError),
        (SafetensorError("I/O error"), WriteError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_what_was_there_stays_and_nothing_else_is_left(tmp_path, error, told):
    path = tmp_path / "a.json"
    path.write_text("before")

    def write(partial):
        partial.write_text("half")
        raise error

    with pytest.raises(told):
        write_whole(path, write)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.json", "before")]
