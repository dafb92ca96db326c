"""Folders of pictures: what is taken, what is named, and that nothing outside is read."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from data_sets import keys, left_mask, listed, noise_image, records, usable
from PIL import Image

from training.data.folder import ImageFolder
from training.data.records import Columns, DatasetError
from training.loop.prepare import open_source


def test_a_folder_is_captioned_by_text_files(tmp_path):
    for i in range(4):
        noise_image(i).save(tmp_path / f"{i}.png")
    (tmp_path / "1.txt").write_text("one\n")
    (tmp_path / "1.caption").write_text("not this one")
    (tmp_path / "2.caption").write_text("two")
    (tmp_path / "3.TXT").write_text("three")
    found = records(ImageFolder(tmp_path, Columns()))
    assert [record.words() for record in found] == ["", "one", "two", "three"]
    assert np.array_equal(found[2].load().image, np.asarray(noise_image(2)))
    assert found[0].load().masks.shape == (0, 32, 40)


def test_metadata_names_captions_conditions_and_masks(tmp_path):
    noise_image().save(tmp_path / "a.png")
    noise_image(1).save(tmp_path / "edges.png")
    left_mask().save(tmp_path / "m.png")
    row = {"file_name": "a.png", "text": "a thing", "edges": "edges.png", "where": "m.png"}
    (record,) = records(listed(tmp_path, row, columns=Columns(condition="edges", mask="where")))
    sample = record.load()
    assert sample.caption == "a thing"
    assert np.array_equal(sample.condition, np.asarray(noise_image(1)))
    assert sample.masks.shape == (1, 32, 40)
    assert (sample.masks[0, :, :20] == 255).all()
    assert not sample.masks[0, :, 20:].any()


def test_captions_may_be_lists_numbers_or_hold_ends_of_lines(tmp_path):
    noise_image().save(tmp_path / "a.png")
    written = [["one", "two"], 3, None, "line\u2028end\x85", []]
    rows = [{"file_name": "a.png", "text": text} for text in written]
    lines = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "metadata.jsonl").write_text("\ufeff" + lines, encoding="utf-8", newline="")
    found = records(ImageFolder(tmp_path, Columns()))
    assert [record.words() for record in found] == ["one", "3", "", "line\u2028end\x85", ""]


def test_what_is_written_into_the_folder_is_not_trained_on(tmp_path, monkeypatch):
    noise_image().save(tmp_path / "a.png")
    folder = ImageFolder(tmp_path, Columns())
    folder.check_apart("cache_dir", tmp_path.parent / "out")
    monkeypatch.chdir(tmp_path)
    for inside in (Path("out"), tmp_path):
        with pytest.raises(DatasetError, match=r"^--cache_dir .* is inside of"):
            folder.check_apart("cache_dir", inside)
    folder.check_apart("cache_dir", Path(".cache"))  # hidden folders are not looked into
    listed(tmp_path, {"file_name": "a.png", "text": ""}).check_apart("cache_dir", Path("out"))


@pytest.mark.parametrize("flag", ["output_dir", "cache_dir"])
def test_a_run_that_would_write_among_its_pictures_is_refused(make_settings, tmp_path, flag):
    noise_image().save(tmp_path / "a.png")
    inside = {
        "train_data_dir": tmp_path,
        "output_dir": tmp_path.parent / "out",
        "mask_column": None,
    }
    with pytest.raises(DatasetError, match=f"^--{flag} .* is inside of"):
        open_source(make_settings(**inside | {flag: tmp_path / "written"}))


@pytest.mark.parametrize("columns", [Columns(mask="msak"), Columns(condition="msak")])
def test_a_column_that_nothing_has_is_named(tmp_path, columns):
    with pytest.raises(DatasetError, match=r"No line of .* has 'msak'"):
        listed(tmp_path, {"file_name": "a.png", "text": "", "mask": "m.png"}, columns=columns)


def test_missing_folders_columns_and_broken_lines_are_named(tmp_path):
    with pytest.raises(DatasetError, match="no folder"):
        ImageFolder(tmp_path / "absent", Columns())
    with pytest.raises(DatasetError, match=r"metadata\.jsonl"):
        ImageFolder(tmp_path, Columns(mask="mask"))
    with pytest.raises(DatasetError, match=r"has 'text', the first only .*--caption_column"):
        listed(tmp_path, {"file_name": "a.png"})
    (tmp_path / "metadata.jsonl").write_bytes('{"file_name": "ä.png"}'.encode("latin-1"))
    with pytest.raises(DatasetError, match="no UTF-8 text"):
        ImageFolder(tmp_path, Columns())


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{broken", "line 2 is no JSON"),
        ('["a.png", ""]', "line 2 is no JSON object"),
        ("[" * 100_000, "line 2 is no JSON .*too deep"),
        ('{"file_name": ' + "9" * 5000 + "}", "line 2 is no JSON"),
    ],
)
def test_a_line_that_is_no_object_is_named_in_few_words(tmp_path, line, told):
    source = listed(tmp_path, {"file_name": "a.png", "text": ""}, line)
    with pytest.raises(DatasetError, match=told) as error:
        list(source.rows())
    assert len(str(error.value)) < 500


def test_captions_may_stand_in_some_lines_or_beside_the_pictures(tmp_path):
    for i in range(3):
        noise_image(i).save(tmp_path / f"{i}.png")
    (tmp_path / "1.txt").write_text("one")
    rows = [{"file_name": f"{i}.png"} for i in range(3)]
    for last in ({}, {"text": "two"}):
        found = records(listed(tmp_path, *rows[:2], rows[2] | last))
        assert [record.words() for record in found] == ["", "one", last.get("text", "")]


def test_cells_that_name_no_file_and_text_of_another_encoding_are_named(tmp_path, caplog):
    for name in "abcdefg":
        noise_image().save(tmp_path / f"{name}.png")
    (tmp_path / "e.txt").write_bytes("Käse".encode("cp1252"))
    rows = [{"file_name": f"{name}.png", "edges": f"{name}.png"} for name in "abcdefg"]
    rows[0]["edges"] = None
    rows[1]["where"] = float("nan")
    rows[2]["file_name"] = None
    rows[5]["text"] = {"a": 1}
    rows[6]["text"] = "half \ud83d"
    source = listed(tmp_path, *rows, columns=Columns(condition="edges", mask="where"))
    assert keys(usable(source, tmp_path)) == ["d.png"]
    assert "the line of a.png has None for condition" in caplog.text
    assert "the line of b.png has nan for masks" in caplog.text
    assert "e.png: its caption is no UTF-8 text" in caplog.text
    assert "its caption is a dict" in caplog.text
    assert "half a character" in caplog.text


def outsider(folder):
    """A private picture beside a folder."""
    noise_image(9).save(folder.with_name("private.png"))
    return folder.with_name("private.png")


def test_nothing_outside_of_the_folder_is_read_unless_it_is_asked_for(tmp_path, caplog):
    folder = tmp_path / "set"
    folder.mkdir()
    private = outsider(folder)
    noise_image().save(folder / "a.png")
    os.symlink(private, folder / "link.png")
    names = ["a.png", str(private), "../private.png", "link.png", "/dev/zero", "."]
    rows = [{"file_name": name, "text": ""} for name in names]
    assert keys(usable(listed(folder, *rows), folder)) == ["a.png"]
    assert caplog.text.count("add --allow_outside_paths") == 4
    outside = ImageFolder(folder, Columns(), outside=True)
    assert keys(usable(outside, folder)) == ["a.png", str(private), "../private.png", "link.png"]
    (folder / "metadata.jsonl").unlink()
    assert keys(usable(ImageFolder(folder, Columns()), folder)) == ["a.png"]


def test_masks_and_conditions_from_outside_are_not_read_either(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    private = outsider(folder)
    noise_image().save(folder / "a.png")
    row = {"file_name": "a.png", "text": "", "m": [str(private)], "c": str(private)}
    for columns in (Columns(mask="m"), Columns(condition="c")):
        with pytest.raises(ValueError, match="outside"):
            records(listed(folder, row, columns=columns))


@pytest.mark.parametrize(
    "name", ["x" * 5000 + ".png", "a.png\0.png", "", ".", "\ud800.png", 5, ["a.png"] * 2]
)
def test_a_line_whose_name_is_none_is_skipped(tmp_path, name):
    noise_image().save(tmp_path / "a.png")
    source = listed(tmp_path, {"file_name": name}, {"file_name": "a.png", "text": "a"})
    assert keys(usable(source, tmp_path)) == ["a.png"]


def test_pipes_devices_and_names_that_are_no_text_end_nothing(tmp_path, caplog):
    noise_image().save(tmp_path / "a.png")
    shutil.copy(tmp_path / "a.png", os.fsencode(tmp_path) + b"/caf\xe9.png")
    noise_image().save(tmp_path / "new\nline.png")
    for name in ("pipe.png", "a.txt"):
        os.mkfifo(tmp_path / name)
    os.symlink("loop.png", tmp_path / "loop.png")
    noise_image(1).save(tmp_path / "b.png")
    found = usable(ImageFolder(tmp_path, Columns()), tmp_path)
    assert keys(found) == ["b.png", r"caf\udce9.png", r"new\nline.png"]
    assert found[1].load().image.shape == (32, 40, 3)
    assert "skipped pipe.png: pipe.png is no file" in caplog.text
    assert "skipped a.png: a.txt is no file" in caplog.text


def test_what_is_beside_the_pictures_is_counted_with_what_to_do(tmp_path, caplog):
    noise_image().save(tmp_path / "a.png")
    for name in ("b.heic", "c.HEIC", "metadata.csv", "x.tar", ".hidden.png", "rows.parquet"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "metadata.jsonl").write_text("")
    os.symlink(tmp_path, tmp_path / "again")
    usable(ImageFolder(tmp_path, Columns()), tmp_path)
    for told in ("2 .heic", "1 metadata.csv", "1 .tar", "1 hidden files", "1 links to folders"):
        assert told in caplog.text
    assert "1 train/metadata.jsonl" in caplog.text
    assert "write its rows into metadata.jsonl" in caplog.text
    assert "--dataset_name FOLDER" in caplog.text


def test_all_that_pillow_opens_is_taken(tmp_path):
    for name, kind in (("a.jfif", "JPEG"), ("b.jpe", "JPEG"), ("c.gif", "GIF"), ("d.WEBP", "WEBP")):
        noise_image().save(tmp_path / name, kind)
    assert len(usable(ImageFolder(tmp_path, Columns()), tmp_path)) == 4


def test_a_file_of_another_format_is_never_handed_to_a_program(tmp_path, monkeypatch, caplog):
    """An EPS would start Ghostscript, whatever it is called."""
    (tmp_path / "evil.jpg").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 200 200\n%%EndComments\nshowpage\n%%EOF\n"
    )
    noise_image().save(tmp_path / "a.png")
    monkeypatch.setattr("subprocess.Popen", None)
    assert keys(usable(ImageFolder(tmp_path, Columns()), tmp_path)) == ["a.png"]
    assert "skipped evil.jpg: it is none of JPEG, PNG" in caplog.text
    with pytest.raises(ValueError, match="none of"):
        ImageFolder(tmp_path, Columns()).record({"image": "evil.jpg"}).load()
    assert Image.open(tmp_path / "evil.jpg").format == "EPS"


def test_beside_a_table_pictures_that_no_line_names_are_counted(tmp_path, caplog):
    for name in ("a", "b", "c", "mask", "d", "e", "f"):
        noise_image().save(tmp_path / f"{name}.png")
    (tmp_path / "below").mkdir()
    noise_image().save(tmp_path / "below" / "a.png")
    for name in ("a.txt", "x.heic", "metadata.csv", ".made-of"):
        (tmp_path / name).write_bytes(b"")
    rows = [{"file_name": name, "text": ""} for name in ("a.png", "./below/../b.png")]
    rows += [{"file_name": str(tmp_path / "c.png"), "text": "", "unused": ["mask.png", "d.png"]}]
    usable(listed(tmp_path, *rows), tmp_path)
    assert "3 pictures that no line of metadata.jsonl names" in caplog.text
    assert "1 .heic" in caplog.text
    assert "metadata.csv is not read" in caplog.text
    assert ".txt" not in caplog.text
    assert "1 metadata.jsonl" not in caplog.text
    assert "hidden" not in caplog.text


def test_a_table_that_names_all_passes_nothing_over(tmp_path):
    for index in range(2):
        noise_image(index).save(tmp_path / f"{index}.png")
    rows = [{"file_name": f"{index}.png", "text": ""} for index in range(2)]
    assert listed(tmp_path, *rows).passed_over() == {}


@pytest.mark.parametrize("suffix", [".txt", ".TXT", ".Txt", ".caption", ".CAPTION"])
def test_a_caption_is_found_beside_a_listed_picture_however_its_suffix_is_written(tmp_path, suffix):
    noise_image().save(tmp_path / "a.png")
    (tmp_path / f"a{suffix}").write_text("one")
    (record,) = records(listed(tmp_path, {"file_name": "a.png"}))
    assert record.words() == "one"
