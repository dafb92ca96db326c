"""The check of a data set: once, kept, resumed, never of other data."""

import errno
import json
import logging
import os
import pickle
import shutil
import sqlite3
from contextlib import closing

import numpy as np
import pytest
from data_sets import keys, left_mask, listed, noise_image, png, records, saved, shard, usable
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from training.data.checked import check, hold_out
from training.data.coco import Coco
from training.data.files import WriteError
from training.data.folder import ImageFolder
from training.data.hub import HubDataset
from training.data.pictures import formats
from training.data.records import ChangedError, Columns, DatasetError, Record
from training.data.shard_files import local_shards
from training.data.shards import TarShards
from training.errors import one_sentence


def test_broken_small_and_misfitting_samples_are_named_and_left_out(tmp_path, caplog):
    noise_image().save(tmp_path / "good.png")
    noise_image(size=(8, 8)).save(tmp_path / "small.png")
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(png(noise_image(3))[:200])
    content = bytearray(png(noise_image(1)))
    content[content.index(b"IDAT") : content.index(b"IDAT") + 4] = b"I\0AT"
    (tmp_path / "broken.png").write_bytes(content)
    assert keys(usable(ImageFolder(tmp_path, Columns()), tmp_path)) == ["good.png"]
    for name in ("small.png", "text.png", "cut.png", "broken.png"):
        assert f"skipped {name}" in caplog.text
    assert "4 of 5 samples are skipped" in caplog.text


@pytest.mark.parametrize("kind", formats())
def test_damaged_files_of_every_format_are_passed_over_as_pictures_and_as_masks(tmp_path, kind):
    noise_image().save(tmp_path / "good.png")
    rng, rows = np.random.default_rng(0), [{"file_name": "good.png", "text": "", "m": "good.png"}]
    noise_image(1).save(tmp_path / "whole", kind)
    whole = (tmp_path / "whole").read_bytes()
    for index in range(40):
        content = np.frombuffer(whole, np.uint8).copy()
        content[rng.integers(len(content), size=3)] = rng.integers(256, size=3)
        name = f"{index}.png"
        (tmp_path / name).write_bytes(content.tobytes()[: rng.integers(len(content), size=4).max()])
        rows += [
            {"file_name": picture, "text": "", "m": mask}
            for picture, mask in ((name, "good.png"), ("good.png", name))
        ]
    found = usable(listed(tmp_path, *rows, columns=Columns(mask="m")), tmp_path)
    assert found.catalogue.skipped_count() + len(found) == len(rows)
    assert found.catalogue.skipped_count() > 10


def test_nothing_usable_is_an_error(tmp_path):
    with pytest.raises(DatasetError, match="None of the 0 samples"):
        usable(ImageFolder(tmp_path, Columns()), tmp_path)


def sources(folder):
    """A small data set of every kind, each with a mask where it can have one."""
    import datasets

    table = folder / "table"
    table.mkdir()
    noise_image().save(table / "a.png")
    left_mask().save(table / "m.png")
    row = {"file_name": "a.png", "text": "", "edges": "a.png", "where": ["m.png"]}
    yield listed(table, row, columns=Columns(condition="edges", mask="where"))
    names = {"1.png": noise_image(), "1.edges.png": noise_image(1), "1.mask.png": left_mask()}
    shard(folder / "a.tar", {name: png(found) for name, found in names.items()})
    yield TarShards(
        local_shards([folder / "a.tar"]), Columns(condition="edges.png", mask="mask.png")
    )
    cells = {"image": [noise_image()], "mask": [left_mask()], "text": [""]}
    kinds = {"image": datasets.Image(), "mask": datasets.Image()}
    path = saved(folder / "hub", cells, **kinds)
    yield HubDataset(path, Columns(image="image", condition="image", mask="mask"))
    outline = {"image_id": 7, "category_id": 1, "segmentation": [[0, 0, 20, 0, 20, 32, 0, 32]]}
    image = {"id": 7, "file_name": "a.png", "width": 40, "height": 32}
    instances = {"images": [image], "annotations": [outline]}
    (folder / "instances.json").write_text(json.dumps(instances))
    yield Coco(table, folder / "instances.json")


def test_samples_of_every_source_can_be_sent_to_workers(tmp_path):
    for index, source in enumerate(sources(tmp_path)):
        checked = usable(source, tmp_path / str(index))
        wanted = checked[0].load()
        for one in (pickle.loads(pickle.dumps(checked)) for _ in range(2)):
            sample = one[0].load()
            assert np.array_equal(sample.image, wanted.image)
            assert np.array_equal(sample.masks, wanted.masks)
            assert sample.masks.any()


def pair(index):
    """A picture, and a mask, which is too small for the first one."""
    return [("png", noise_image(index)), ("mask.png", left_mask((40, 32) if index else (20, 16)))]


@pytest.mark.parametrize("kind", ["shards", "hub"])
def test_a_check_is_not_of_other_columns(tmp_path, kind):
    if kind == "shards":
        files = {f"{i}.{end}": png(what) for i in range(3) for end, what in pair(i)}
        shard(tmp_path / "a.tar", files)

        def source(mask):
            return TarShards(local_shards([tmp_path / "a.tar"]), Columns(mask=mask and "mask.png"))
    else:
        import datasets

        table = {"image": [noise_image(i) for i in range(3)], "text": [""] * 3}
        table["mask"] = [dict(pair(i))["mask.png"] for i in range(3)]
        saved(tmp_path / "hub", table, image=datasets.Image(), mask=datasets.Image())

        def source(mask):
            return HubDataset(str(tmp_path / "hub"), Columns(image="image", mask=mask))

    for order in ((None, "mask"), ("mask", None)):
        kept = tmp_path / str(order)
        counts = {mask: len(check(source(mask), 16, None, kept)) for mask in order}
        assert counts == {None: 3, "mask": 2}


def test_what_was_skipped_is_named_again_from_what_is_kept(tmp_path, caplog):
    noise_image().save(tmp_path / "a.png")
    for index in range(12):
        (tmp_path / f"bad{index}.png").write_text("no picture")
    for _ in range(2):
        caplog.clear()
        found = usable(ImageFolder(tmp_path, Columns()), tmp_path)
        assert caplog.text.count("skipped bad") == 10
        assert "12 of 13 samples are skipped" in caplog.text
        assert str(found.catalogue.path) in caplog.text
    assert len(found.catalogue.skipped(100)) == 12


@pytest.fixture
def loads(monkeypatch):
    """The keys of records that are loaded."""
    found, load = [], Record.load
    monkeypatch.setattr(Record, "load", lambda self: found.append(self.key) or load(self))
    return found


def test_a_check_is_kept_until_something_changes_and_then_made_of_that_alone(tmp_path, loads):
    for index in range(3):
        noise_image(index).save(tmp_path / f"{index}.png")
    first = usable(ImageFolder(tmp_path, Columns()), tmp_path)
    loads.clear()
    again = usable(ImageFolder(tmp_path, Columns()), tmp_path)
    assert loads == []
    assert again.catalogue.identity == first.catalogue.identity
    noise_image(5).save(tmp_path / "1.png")
    noise_image(6).save(tmp_path / "3.png")
    changed = usable(ImageFolder(tmp_path, Columns()), tmp_path)
    assert sorted(loads) == ["1.png", "3.png"]
    assert keys(changed) == ["0.png", "1.png", "2.png", "3.png"]
    assert changed.catalogue.identity["pictures"] != first.catalogue.identity["pictures"]


def test_a_check_that_was_stopped_goes_on(tmp_path, loads, monkeypatch):
    monkeypatch.setattr("training.data.checked._BATCH", 4)
    for index in range(10):
        noise_image(index).save(tmp_path / f"{index}.png")
    source = ImageFolder(tmp_path, Columns())
    rows = list(source.rows())

    def until_the_user_stops():
        yield from rows[:8]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(source, "rows", until_the_user_stops)
        with pytest.raises(KeyboardInterrupt):
            usable(source, tmp_path)
    assert len(loads) == 8
    assert len(usable(source, tmp_path)) == 10
    assert sorted(loads) == [f"{index}.png" for index in range(10)]
    kept = tmp_path.with_name(tmp_path.name + "-kept")
    assert not list(kept.glob("*.partial"))


def test_a_damaged_catalogue_or_memory_is_made_anew(tmp_path):
    noise_image().save(tmp_path / "a.png")
    first = usable(ImageFolder(tmp_path, Columns()), tmp_path)
    for path in first.catalogue.path.parent.iterdir():
        path.write_bytes(path.read_bytes()[:100])
    again = usable(ImageFolder(tmp_path, Columns()), tmp_path)
    assert again.catalogue.identity == first.catalogue.identity


def test_a_memory_that_another_process_writes_to_is_left_to_it(tmp_path, monkeypatch):
    noise_image().save(tmp_path / "a.png")
    kept = usable(ImageFolder(tmp_path, Columns()), tmp_path).catalogue.path.parent
    noise_image(1).save(tmp_path / "b.png")
    monkeypatch.setattr("training.data.known._WAIT", 0.1)
    before = (kept / "known.sqlite").read_bytes()
    other = sqlite3.connect(kept / "known.sqlite", isolation_level=None)
    with closing(other):
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(WriteError, match=r"\(database is locked\); .* wait for others"):
            usable(ImageFolder(tmp_path, Columns()), tmp_path)
    assert (kept / "known.sqlite").read_bytes() == before
    assert len(usable(ImageFolder(tmp_path, Columns()), tmp_path)) == 2


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.EIO, "Input/output error"), "1.png cannot be read now .*Input/output error"),
        (OSError(errno.EMFILE, "Too many open files"), "see to the disk, and start again"),
        (MemoryError(), "not enough memory to read 1.png"),
    ],
)
def test_an_error_that_may_pass_is_told_and_not_remembered(tmp_path, monkeypatch, error, told):
    for index in range(3):
        noise_image(index).save(tmp_path / f"{index}.png")
    source, load = ImageFolder(tmp_path, Columns()), Record.load

    def fail_once(record):
        if record.key == "1.png":
            monkeypatch.undo()
            raise error
        return load(record)

    monkeypatch.setattr(Record, "load", fail_once)
    with pytest.raises(DatasetError, match=told):
        usable(source, tmp_path)
    assert keys(usable(source, tmp_path)) == ["0.png", "1.png", "2.png"]


def test_a_file_that_may_not_be_read_is_passed_over(tmp_path, monkeypatch, caplog):
    for index in range(2):
        noise_image(index).save(tmp_path / f"{index}.png")
    load = Record.load

    def refuse(record):
        if record.key == "1.png":
            raise PermissionError(errno.EACCES, "Permission denied")
        return load(record)

    monkeypatch.setattr(Record, "load", refuse)
    assert keys(usable(ImageFolder(tmp_path, Columns()), tmp_path)) == ["0.png"]
    assert "skipped 1.png: [Errno 13] Permission denied" in caplog.text


def same_times(folder):
    for path in folder.iterdir():
        os.utime(path, (1e9, 1e9))


def test_a_change_that_keeps_size_and_time_is_seen(tmp_path):
    """As after cp -p, tar, git or docker, with files of one size."""
    noise_image(0).save(tmp_path / "a.bmp")
    same_times(tmp_path)
    first = usable(ImageFolder(tmp_path, Columns()), tmp_path)
    assert len(first) == 1
    noise_image(1).save(tmp_path / "a.bmp")
    same_times(tmp_path)
    again = usable(ImageFolder(tmp_path, Columns()), tmp_path)
    assert again.entry(0).digests.image != first.entry(0).digests.image


def test_what_changes_after_the_check_is_refused_when_it_is_read(tmp_path):
    noise_image(0).save(tmp_path / "a.bmp")
    found = usable(ImageFolder(tmp_path, Columns()), tmp_path)
    noise_image(1).save(tmp_path / "a.bmp")
    with pytest.raises(ChangedError, match=r"a\.bmp has changed since it was checked"):
        found[0].load()


def test_what_is_damaged_after_the_check_is_named(tmp_path):
    noise_image(0).save(tmp_path / "a.bmp")
    found = usable(ImageFolder(tmp_path, Columns()), tmp_path)
    (tmp_path / "a.bmp").write_bytes(b"BM")
    with pytest.raises(ChangedError, match=r"a\.bmp has changed since it was checked \(.*damaged"):
        found[0].load()


class Changed(Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise ChangedError("a.bmp has changed: start again")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_user_reads_the_sentence_of_a_worker_alone(workers):
    with pytest.raises(SystemExit) as stopped, one_sentence(""):
        list(DataLoader(Changed(), num_workers=workers))
    assert str(stopped.value) == "a.bmp has changed: start again"


def test_the_same_data_elsewhere_is_the_same(tmp_path):
    """So a cache holds for a copy, and for nothing else of its names."""
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    noise_image(0).save(tmp_path / "one" / "a.bmp")
    (tmp_path / "one" / "a.txt").write_text("a thing")
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    noise_image(1).save(tmp_path / "other" / "a.bmp")
    (tmp_path / "other" / "a.txt").write_text("a thing")

    def identity(name):
        found = check(ImageFolder(tmp_path / name, Columns()), 16, None, tmp_path / "kept")
        return found.catalogue.identity

    assert identity("one") == identity("copy")
    differs = {part for part, name in identity("other").items() if identity("one")[part] != name}
    assert differs == {"pictures"}


def test_long_captions_and_odd_names_are_told_in_a_line(tmp_path, caplog):
    (tmp_path / ("x" * 200 + "\x1b[31m.png")).write_text("no picture")
    (tmp_path / "a.txt").write_text("word " * 10_000)
    noise_image().save(tmp_path / "a.png")
    with caplog.at_level(logging.INFO):
        found = usable(ImageFolder(tmp_path, Columns()), tmp_path)
    assert len(found[0].caption) == 5 * 10_000 - 1
    assert "\x1b" not in caplog.text
    assert max(map(len, caplog.text.splitlines())) < 1000


def test_most_held_out_samples_stay_so_as_the_set_grows(tmp_path):
    for index in range(20):
        noise_image(index).save(tmp_path / f"{index:02d}.png")
    before = hold_out(usable(ImageFolder(tmp_path, Columns()), tmp_path), 0.2)
    for index in range(20, 25):
        noise_image(index).save(tmp_path / f"{index:02d}.png")
    after = hold_out(usable(ImageFolder(tmp_path, Columns()), tmp_path), 0.2)
    found = [set(keys(part)) for part in (*before, *after)]
    assert (len(found[0]), len(found[1])) == (16, 4)
    assert not found[0] & found[1]
    assert len(found[1] & found[3]) >= 3


def test_records_name_what_does_not_fit(tmp_path, caplog):
    noise_image().save(tmp_path / "a.png")
    noise_image(size=(20, 16)).save(tmp_path / "small.png")
    Image.new("L", (20, 16), 255).save(tmp_path / "m.png")
    rows = [
        {"file_name": "a.png", "text": "", "c": "a.png"},
        {"file_name": "a.png", "text": "", "c": "small.png"},
        {"file_name": "a.png", "text": "", "c": "a.png", "m": "m.png"},
    ]
    source = listed(tmp_path, *rows, columns=Columns(condition="c", mask="m"))
    assert len(records(source)) == 3
    assert len(usable(source, tmp_path)) == 1
    assert "the condition is 20 x 16, the picture 40 x 32" in caplog.text
    assert "the mask is 20 x 16, the picture 40 x 32" in caplog.text
