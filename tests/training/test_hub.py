"""Hugging Face data sets: local ones, whose cells fetch nothing and lead nowhere."""

import os

import datasets
import numpy as np
import pytest
from data_sets import keys, left_mask, noise_image, png, records, saved, usable

from training.data.hub import HubDataset, is_saved
from training.data.records import Columns, DatasetError, Record

IMAGES = Columns(image="image")


def two(folder):
    """Two pictures with captions and masks."""
    table = {"image": [noise_image(i) for i in range(2)], "mask": [left_mask()] * 2}
    kinds = {"image": datasets.Image(), "mask": datasets.Image()}
    return saved(folder, table | {"text": ["zero", "one"]}, **kinds)


def test_a_local_data_set(tmp_path):
    two(tmp_path / "hub")
    found = records(HubDataset(str(tmp_path / "hub"), Columns(image="image", mask="mask")))
    assert [record.words() for record in found] == ["zero", "one"]
    assert np.array_equal(found[1].load().image, np.asarray(noise_image(1)))
    assert found[0].load().masks[0, :, :20].all()
    with pytest.raises(DatasetError, match="no column 'caption'"):
        HubDataset(str(tmp_path / "hub"), Columns(image="image", caption="caption"))


def test_a_saved_data_set_of_several_splits(tmp_path):
    whole = datasets.load_from_disk(two(tmp_path / "one"))
    splits = {"train": whole.select([0]), "test": whole.select([1])}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "several")
    assert is_saved(tmp_path / "several")
    (record,) = records(HubDataset(str(tmp_path / "several"), IMAGES, "test"))
    assert record.words() == "one"
    with pytest.raises(DatasetError, match=r"no split 'other', only \['train', 'test'\]"):
        HubDataset(str(tmp_path / "several"), IMAGES, "other")


def test_of_several_captions_the_first_is_taken(tmp_path):
    table = {"image": [noise_image(i) for i in range(3)], "text": [["one", "two"], [], ["three"]]}
    kinds = {"image": datasets.Image(), "text": datasets.Sequence(datasets.Value("string"))}
    saved(tmp_path / "hub", table, **kinds)
    found = records(HubDataset(str(tmp_path / "hub"), IMAGES))
    assert [record.words() for record in found] == ["one", "", "three"]


def test_cells_may_hold_several_masks_or_none(tmp_path):
    table = {
        "image": [noise_image(i) for i in range(3)],
        "other": ["a.png"] * 3,
        "text": [""] * 3,
        "mask": [left_mask(), left_mask(), None],
        "masks": [[left_mask(), left_mask()], [left_mask()], []],
    }
    kinds = {name: datasets.Image() for name in ("image", "mask")}
    saved(tmp_path / "hub", table, **kinds, masks=datasets.Sequence(datasets.Image()))

    def masks(column):
        found = records(HubDataset(str(tmp_path / "hub"), Columns(image="image", mask=column)))
        return [record.load().masks.shape for record in found]

    assert masks("mask") == [(1, 32, 40), (1, 32, 40), (0, 32, 40)]
    assert masks("masks") == [(2, 32, 40), (1, 32, 40), (0, 32, 40)]
    other = HubDataset(str(tmp_path / "hub"), Columns(image="other"))
    with pytest.raises(DatasetError, match=r"column 'other' holds str, no picture"):
        usable(other, tmp_path)
    assert HubDataset(str(tmp_path / "hub"), IMAGES).stamp() != other.stamp()


def test_cells_of_bytes_are_pictures_however_the_column_is_called(tmp_path):
    data = [png(noise_image(i)) for i in range(2)]
    undecoded = [{"bytes": one, "path": None} for one in data]
    kinds = {"plain": datasets.Value("binary"), "raw": datasets.Image(decode=False)}
    table = {"plain": data, "raw": undecoded, "text": ["", ""]}
    saved(tmp_path / "hub", table, **kinds)
    for column in ("plain", "raw"):
        found = records(HubDataset(str(tmp_path / "hub"), Columns(image=column)))
        assert np.array_equal(found[1].load().image, np.asarray(noise_image(1)))


def test_addresses_and_paths_outside_are_not_followed(tmp_path, caplog, monkeypatch):
    noise_image(9).save(tmp_path / "private.png")
    cells = [
        {"bytes": png(noise_image()), "path": None},
        {"bytes": None, "path": str(tmp_path / "private.png")},
        {"bytes": None, "path": "http://127.0.0.1:9/x.png"},
        {"bytes": b"junk", "path": None},
        {"bytes": b"", "path": None},
        None,
    ]
    # As cells of pictures are stored; the library itself would fetch them when it saves.
    stored = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    saved(tmp_path / "hub", {"image": cells, "text": [""] * 6}, image=stored)
    monkeypatch.setattr("socket.socket.connect", None)
    assert keys(usable(HubDataset(str(tmp_path / "hub"), IMAGES), tmp_path)) == ["row 0"]
    assert "row 1: " in caplog.text
    assert "outside of the data set's folder" in caplog.text
    assert "{'index': 5}: there are 0 pictures" in caplog.text
    outside = HubDataset(str(tmp_path / "hub"), IMAGES, outside=True)
    assert keys(usable(outside, tmp_path)) == ["row 0", "row 1"]


def test_one_that_cannot_be_loaded_is_a_sentence(tmp_path):
    noise_image().save(tmp_path / "a.png")
    with pytest.raises(DatasetError, match=r"cannot be loaded .* see --dataset_name"):
        HubDataset(str(tmp_path), IMAGES, "validation")


@pytest.mark.parametrize("name", ["state.json", "data-00000-of-00001.arrow"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_one_is_a_sentence(tmp_path, name, damage):
    path = tmp_path / "hub" / name
    two(path.parent)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    if damage == "gone":
        path.unlink()
    with pytest.raises(DatasetError, match=r"cannot be loaded .*\n?.*save it again"):
        usable(HubDataset(str(path.parent), IMAGES), tmp_path)


def of_files(folder, parts=("image",), lists=False):
    """A saved data set whose cells hold the paths of two pictures in it."""
    stored = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    table, kinds = {"text": ["", ""]}, {}
    for part in parts:
        paths = [folder / f"{part}{index}.bmp" for index in range(2)]
        cells = [{"bytes": None, "path": str(path)} for path in paths]
        table[part] = [[cell] for cell in cells] if lists else cells
        kinds[part] = [stored] if lists else stored
    saved(folder, table, **kinds)
    for part in parts:
        for index in range(2):
            noise_image(index).save(folder / f"{part}{index}.bmp")


def replaced(path):
    """Another picture in a file's place, of the same size and time."""
    noise_image(9).save(path)
    os.utime(path, (1e9, 1e9))


@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("part", ["image", "guide"])
def test_a_file_that_a_cell_names_is_looked_at_again_when_it_changes(tmp_path, part, lists):
    of_files(tmp_path / "hub", ("image", "guide"), lists)
    columns = Columns(image="image", condition="guide")

    def found():
        return usable(HubDataset(str(tmp_path / "hub"), columns), tmp_path)

    os.utime(tmp_path / "hub" / f"{part}1.bmp", (1e9, 1e9))
    before = found()
    replaced(tmp_path / "hub" / f"{part}1.bmp")
    after = found()
    assert after.entry(0) == before.entry(0)
    assert after.entry(1).digests != before.entry(1).digests
    after[1].load()


def test_only_what_a_changed_file_belongs_to_is_checked_anew(tmp_path, monkeypatch):
    of_files(tmp_path / "hub")
    usable(HubDataset(str(tmp_path / "hub"), IMAGES), tmp_path)
    loaded, load = [], Record.load
    monkeypatch.setattr(Record, "load", lambda self: loaded.append(self.key) or load(self))
    replaced(tmp_path / "hub" / "image1.bmp")
    usable(HubDataset(str(tmp_path / "hub"), IMAGES), tmp_path)
    assert loaded == ["row 1"]
