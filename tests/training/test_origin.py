"""Folders of the laboratory know what they were made from."""

import os
import shutil
from pathlib import Path

import pytest
import tomli_w
from pydantic import Field

from demo.base import CHECKPOINT
from lab.make import latents, probe, train_autoencoder, train_base
from lab.make.export_base import BaseExportSettings, export_base
from lab.origin import OriginError, claim, contents
from lab.study.experiment import refuse_other
from lab.world import dataset
from lab.world.dataset import ScenesSettings, write_dataset
from lab.world.vocabulary import VOCABULARY
from training.config.commands import CommandSettings
from training.config.run import TrainSettings


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
    claim(Made(source=source, output_dir=tmp_path / "made"))
    claim(Made(source=moved, checkpointing_steps=7, output_dir=tmp_path / "made"))
    for seed in range(2):
        claim(Made(seed=seed, output_dir=tmp_path / "of any seed"), "seed")


@pytest.mark.parametrize(
    ("change", "named"), [({"seed": 1}, "seed was 0 and is 1"), ({"source": None}, "source was")]
)
def test_what_was_made_from_something_else_is_refused_by_name(tmp_path, change, named):
    (tmp_path / "source").write_text("a")
    settings = Made(source=tmp_path / "source", output_dir=tmp_path / "made")
    claim(settings)
    with pytest.raises(OriginError, match=f"{named}.*; delete it"):
        claim(settings.model_copy(update=change))


def test_contents_count_whatever_sizes_and_times_are(tmp_path):
    (tmp_path / "source").write_text("a")
    settings = Made(source=tmp_path / "source", output_dir=tmp_path / "made")
    before = (tmp_path / "source").stat()
    claim(settings)
    (tmp_path / "source").write_text("b")
    os.utime(tmp_path / "source", ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(OriginError, match="source was"):
        claim(settings)


def test_files_of_which_nothing_is_known_are_refused(tmp_path):
    (tmp_path / "old.txt").write_text("of an earlier version")
    with pytest.raises(OriginError, match="does not say what its files were made from"):
        claim(Made(output_dir=tmp_path))


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
    settings = ScenesSettings(data_dir=tmp_path / "data", output_dir=tmp_path / "out", count=0)
    settings.data_dir.mkdir()
    write_dataset(settings)
    write_dataset(settings)
    with pytest.raises(OriginError, match=f"{next(iter(change))} was"):
        write_dataset(settings.model_copy(update=change))


def test_words_count_with_the_pictures_of_objects(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "fetch_pictures", lambda folder: None)
    settings = ScenesSettings(data_dir=tmp_path / "data", output_dir=tmp_path / "out", count=0)
    settings.data_dir.mkdir()
    write_dataset(settings)
    words = tmp_path / "vocabulary.toml"
    words.write_text(VOCABULARY.read_text() + "\n[more]\n")
    monkeypatch.setattr("lab.origin.VOCABULARY", words)
    with pytest.raises(OriginError, match="data_dir was"):
        write_dataset(settings)


def test_what_is_not_there_is_named_and_nothing_is_noted(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no .*source"):
        claim(Made(source=tmp_path / "source", output_dir=tmp_path / "made"))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("module", "inputs"),
    [
        (probe, ()),
        (train_autoencoder, ()),
        (latents, ("autoencoder",)),
        (train_base, ("autoencoder", "latents_dir")),
    ],
)
def test_every_training_of_the_laboratory_looks_what_its_folder_is_of(
    tmp_path, monkeypatch, module, inputs
):
    monkeypatch.setattr(module, "fetch_pictures", lambda folder: None, raising=False)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "state-00000001.safetensors").write_bytes(b"")
    flags = ["--output_dir", str(tmp_path / "out")]
    for name in ("data_dir", *inputs):
        (tmp_path / name).mkdir()
        flags += [f"--{name}", str(tmp_path / name)]
    monkeypatch.setattr(
        "sys.argv", [module.__name__, "--output_dir", str(tmp_path / "out"), *flags]
    )
    with pytest.raises(OriginError, match="does not say what its files were made from"):
        module.main()


def test_a_study_takes_no_adapter_of_other_settings(tmp_path):
    settings = TrainSettings(
        pretrained_model_name_or_path="base", train_data_dir=tmp_path, output_dir=tmp_path
    )
    written = settings.model_copy(update={"learning_rate": 1e-3, "seed": 5})
    (tmp_path / "config.toml").write_text(tomli_w.dumps(written.resolved()))
    with pytest.raises(OriginError, match="another learning_rate, another seed; delete it"):
        refuse_other(settings)
