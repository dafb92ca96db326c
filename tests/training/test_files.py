"""Files appear whole or not at all, whoever else writes them and whatever goes wrong."""

import os
import stat
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from training.data.files import WriteError, remove_left, write_tensors, write_whole


def test_nothing_is_seen_before_it_is_whole(tmp_path):
    path = tmp_path / "new" / "a.json"

    def write(partial):
        partial.write_text("half")
        assert not path.exists()
        partial.write_text("whole")

    write_whole(path, write)
    assert [(p.name, p.read_text()) for p in path.parent.iterdir()] == [("a.json", "whole")]


def test_two_processes_of_one_number_may_write_the_same_file(tmp_path):
    """As those of two containers are."""
    path = tmp_path / "a.json"

    def write(partial):
        partial.write_text("one")
        write_whole(path, lambda other: other.write_text("two"))

    write_whole(path, write)
    assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(28, "No space left on device"), WriteError),
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


def test_what_a_dead_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    for name, age in (("dead", 7200), ("living", 10)):
        partial = tmp_path / f"a.json.{name}.partial"
        partial.write_text("half")
        now = partial.stat().st_mtime
        os.utime(partial, (now - age, now - age))
    (tmp_path / "a.json").write_text("whole")
    remove_left(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", "a.json.living.partial"}


def test_files_of_tensors_have_the_permissions_that_the_user_gives(tmp_path):
    before = os.umask(0o027)
    try:
        write_tensors(tmp_path / "a.safetensors", {"a": torch.zeros(2)})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.safetensors").stat().st_mode) == 0o640


def test_files_of_the_same_tensors_are_the_same_bytes(tmp_path):
    """The library draws the order of metadata anew in every process."""
    code = (
        "import sys, torch; from pathlib import Path; "
        "from training.data.files import write_tensors; "
        "about = {f'k{i}': '\\u00e9\"' for i in range(20)}; "
        "write_tensors(Path(sys.argv[1]), {'b': torch.ones(3).T, 'a': torch.zeros(2)}, about)"
    )
    paths = [tmp_path / f"{i}.safetensors" for i in range(3)]
    for path in paths:
        subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    assert len({path.read_bytes() for path in paths}) == 1
    with safe_open(paths[0], framework="pt") as file:
        assert file.metadata() == {f"k{i}": '\u00e9"' for i in range(20)}
    assert torch.equal(load_file(paths[0])["b"], torch.ones(3))
