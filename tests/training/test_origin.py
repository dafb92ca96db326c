"""Folders of the laboratory know what they were made from."""

import os
import shutil
from pathlib import Path

import pytest
from pydantic import Field

from demo.base import CHECKPOINT
from lab.make.export_base import BaseExportSettings, export_base
from lab.origin import OriginError, claim, contents
from lab.world import dataset
from lab.world.dataset import ScenesSettings, write_dataset
from training.config.commands import CommandSettings


class Made(CommandSettings):
    source: Path | None = Field(None, description="what it is made from")
    seed: int = Field(0, description="of what is drawn")
    checkpointing_steps: int = Field(1, description="which changes nothing")
    output_dir: Path = Field(Path(), description="where it is")


def test_what_is_made_again_from_the_same_is_taken(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.txt").write_text("a")
    moved = tmp_path / "moved"
    shutil.copytree(source, moved)
    claim(Made(source=source), tmp_path / "made")
    claim(Made(source=moved, checkpointing_steps=7), tmp_path / "made")
    for seed in range(2):
        claim(Made(seed=seed), tmp_path / "of any seed", "seed")


@pytest.mark.parametrize(
    ("change", "named"), [({"seed": 1}, "seed was 0 and is 1"), ({"source": None}, "source was")]
)
def test_what_was_made_from_something_else_is_refused_by_name(tmp_path, change, named):
    (tmp_path / "source").write_text("a")
    settings = Made(source=tmp_path / "source")
    claim(settings, tmp_path / "made")
    with pytest.raises(OriginError, match=f"{named}.*; delete it"):
        claim(settings.model_copy(update=change), tmp_path / "made")


def test_contents_count_whatever_sizes_and_times_are(tmp_path):
    (tmp_path / "source").write_text("a")
    before = (tmp_path / "source").stat()
    claim(Made(source=tmp_path / "source"), tmp_path / "made")
    (tmp_path / "source").write_text("b")
    os.utime(tmp_path / "source", ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(OriginError, match="source was"):
        claim(Made(source=tmp_path / "source"), tmp_path / "made")


def test_files_of_which_nothing_is_known_are_refused(tmp_path):
    (tmp_path / "old.txt").write_text("of an earlier version")
    with pytest.raises(OriginError, match="does not say what its files were made from"):
        claim(Made(), tmp_path)


def test_names_of_files_count(tmp_path):
    for folder, name in (("one", "a"), ("other", "b")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text("same")
    assert contents(tmp_path / "one") != contents(tmp_path / "other")


def test_a_folder_of_another_base_is_not_handed_out(tmp_path):
    """Which an older file than the folder was, told by times alone."""
    export_base(BaseExportSettings(checkpoint=CHECKPOINT, output_dir=tmp_path / "base"))
    other = tmp_path / "other.safetensors"
    other.write_bytes(CHECKPOINT.read_bytes() + b" ")
    with pytest.raises(OriginError, match="checkpoint was"):
        export_base(BaseExportSettings(checkpoint=other, output_dir=tmp_path / "base"))


@pytest.mark.parametrize("change", [{"split": "test"}, {"seed": 1}, {"count": 3}])
def test_scenes_of_other_objects_or_seeds_are_not_handed_out(tmp_path, monkeypatch, change):
    monkeypatch.setattr(dataset, "fetch_pictures", lambda folder: None)
    settings = ScenesSettings(data_dir=tmp_path / "none", output_dir=tmp_path / "out", count=0)
    write_dataset(settings)
    write_dataset(settings)
    with pytest.raises(OriginError, match=f"{next(iter(change))} was"):
        write_dataset(settings.model_copy(update=change))
