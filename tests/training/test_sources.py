"""Runs from every kind of data set, and the cache built beforehand."""

import json
import os
import sys
import tarfile

import datasets
import pytest
import tomli_w
import torch
from PIL import Image
from prepared import entries, examples_of, prepare

from local_control.checkpoint import read_adapter
from training import cache as cache_command

ONE_STEP = {"max_train_steps": 1, "lr_warmup_steps": 1, "mask_source": "dataset"}


@pytest.fixture
def shards(picture_folder, tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    for path in picture_folder.glob("?.png"):
        path.with_suffix(".txt").write_text(path.stem)
    with tarfile.open(folder / "a.tar", "w") as tar:
        for path in sorted(picture_folder.glob("*.*")):
            if path.suffix in (".png", ".txt"):
                tar.add(path, path.name)
    return {"train_data_dir": folder, "mask_column": "mask.png"}


@pytest.fixture
def saved(picture_folder, tmp_path):
    paths = sorted(picture_folder.glob("?.png"))
    table = {
        "image": [Image.open(path) for path in paths],
        "where": [Image.open(path.with_suffix(".mask.png")) for path in paths],
        "text": [path.stem for path in paths],
    }
    kinds = {"image": datasets.Image(), "where": datasets.Image(), "text": datasets.Value("string")}
    found = datasets.Dataset.from_dict(table, features=datasets.Features(kinds))
    found.save_to_disk(tmp_path / "saved")
    return {"train_data_dir": tmp_path / "saved", "mask_column": "where"}


@pytest.fixture
def coco(picture_folder, tmp_path):
    outline = [[10, 10, 50, 10, 50, 50, 10, 50]]
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 64, "height": 64} for i in range(6)],
        "categories": [{"id": 1, "name": "disc"}],
        "annotations": [
            {"image_id": i, "category_id": 1, "segmentation": outline} for i in range(6)
        ],
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content))
    return {"train_data_dir": picture_folder, "mask_column": None, "coco_instances": path}


@pytest.mark.parametrize("kind", ["shards", "saved", "coco"])
def test_a_run_learns_from_it(run, tmp_path, request, kind):
    run(**ONE_STEP, **request.getfixturevalue(kind))
    assert read_adapter(tmp_path / "run" / "adapter.safetensors").metadata["ss_steps"] == "1"


def test_conditions_can_be_pictures(run, make_settings, picture_folder, tmp_path):
    table = picture_folder / "metadata.jsonl"
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    folder = tmp_path / "paired"
    folder.mkdir()
    for path in picture_folder.glob("*.png"):
        (folder / path.name).write_bytes(path.read_bytes())
    paired = [row | {"guide": row["file_name"]} for row in rows]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, paired)))
    options = {"train_data_dir": folder, "conditioning_image_column": "guide"}
    run(**ONE_STEP, **options)
    adapter = read_adapter(tmp_path / "run" / "adapter.safetensors")
    assert adapter.config.in_channels == 3
    assert adapter.metadata["local_control.condition"] == "pictures"
    settings = make_settings(**options)
    data = prepare(settings)
    example = examples_of(settings, data)[0, 0]
    assert torch.equal(example["condition"], data.prepared.picture(data.train, 0, 0))


def test_the_cache_can_be_built_beforehand(run, make_settings, tmp_path, monkeypatch):
    settings = make_settings(cache_dir=tmp_path / "cache")
    settings.write()
    path = settings.output_dir / "config.toml"
    monkeypatch.setattr(sys, "argv", ["cache", "--config", str(path)])
    cache_command.main()
    before = {path: path.stat().st_mtime_ns for path in settings.cache_folder.rglob("*.*")}
    assert len(entries(settings.cache_folder)) == 6 * 2 + 7
    run(cache_dir=tmp_path / "cache", max_train_steps=2)
    after = {path: path.stat().st_mtime_ns for path in settings.cache_folder.rglob("*.*")}
    assert after == before


def build(settings, tmp_path, monkeypatch):
    """Build a cache by the command -> what it ends with."""
    path = tmp_path / "settings.toml"
    path.write_text(tomli_w.dumps(settings.resolved()))
    monkeypatch.setattr(sys, "argv", ["cache", "--config", str(path)])
    with pytest.raises(SystemExit) as ended:
        cache_command.main()
    return str(ended.value)


def test_a_cache_that_cannot_be_a_folder_is_a_sentence(make_settings, tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("no folder")
    told = build(make_settings(cache_dir=tmp_path / "taken"), tmp_path, monkeypatch)
    assert str(tmp_path / "taken") in told
    assert "could not be written" in told
    assert (tmp_path / "taken").read_text() == "no folder"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to folders that are read-only")
def test_a_cache_on_a_disk_that_is_read_only_is_a_sentence(make_settings, tmp_path, monkeypatch):
    (tmp_path / "kept").mkdir(mode=0o500)
    told = build(make_settings(cache_dir=tmp_path / "kept"), tmp_path, monkeypatch)
    assert "could not be written" in told
    assert not list((tmp_path / "kept").iterdir())
