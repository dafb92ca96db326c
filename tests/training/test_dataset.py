import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data.checked import check, check_once, hold_out
from training.data.coco import Coco
from training.data.folder import ImageFolder
from training.data.hub import HubDataset, is_saved
from training.data.pictures import to_rgb
from training.data.records import Columns, DatasetError
from training.data.shards import TarShards


def picture(seed=0, size=(40, 32)):
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(pixels)


def left_mask(size=(40, 32)):
    mask = Image.new("L", size)
    mask.paste(255, (0, 0, size[0] // 2, size[1]))
    return mask


def png(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def shard(path, files):
    """A tar file of named contents."""
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_a_folder_is_captioned_by_text_files(tmp_path):
    for i in range(3):
        picture(i).save(tmp_path / f"{i}.png")
    (tmp_path / "1.txt").write_text("one\n")
    folder = ImageFolder(tmp_path, Columns())
    assert [folder[i].caption for i in range(len(folder))] == ["", "one", ""]
    assert np.array_equal(folder[2].load().image, np.asarray(picture(2)))
    assert folder[0].load().masks.shape == (0, 32, 40)


def test_metadata_names_captions_conditions_and_masks(tmp_path):
    picture().save(tmp_path / "a.png")
    picture(1).save(tmp_path / "edges.png")
    left_mask().save(tmp_path / "m.png")
    row = {"file_name": "a.png", "text": "a thing", "edges": "edges.png", "where": "m.png"}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(row) + "\n")
    sample = ImageFolder(tmp_path, Columns(condition="edges", mask="where"))[0].load()
    assert sample.caption == "a thing"
    assert np.array_equal(sample.condition, np.asarray(picture(1)))
    assert sample.masks.shape == (1, 32, 40)
    assert sample.masks[0, :, :20].all()
    assert not sample.masks[0, :, 20:].any()


def test_captions_may_be_lists_numbers_or_hold_ends_of_lines(tmp_path):
    picture().save(tmp_path / "a.png")
    written = [["one", "two"], 3, None, "line\u2028end\x85", []]
    rows = [{"file_name": "a.png", "text": text} for text in written]
    lines = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "metadata.jsonl").write_text("\ufeff" + lines, encoding="utf-8", newline="")
    folder = ImageFolder(tmp_path, Columns())
    assert [record.caption for record in folder] == ["one", "3", "", "line\u2028end\x85", ""]


def test_what_is_written_into_the_folder_is_not_trained_on(tmp_path, monkeypatch):
    picture().save(tmp_path / "a.png")
    folder = ImageFolder(tmp_path, Columns())
    folder.check_apart(tmp_path.parent / "out")
    monkeypatch.chdir(tmp_path)
    for inside in (Path("out"), tmp_path):
        with pytest.raises(DatasetError, match="is inside of"):
            folder.check_apart(inside)
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "text": ""}')
    ImageFolder(tmp_path, Columns()).check_apart(Path("out"))


@pytest.mark.parametrize("columns", [Columns(mask="msak"), Columns(condition="msak")])
def test_a_column_that_nothing_has_is_named(tmp_path, columns):
    row = {"file_name": "a.png", "text": "a thing", "mask": "m.png"}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(row))
    with pytest.raises(DatasetError, match=r"No line of .* has 'msak'"):
        ImageFolder(tmp_path, columns)
    shard(tmp_path / "a.tar", {"1.png": png(picture()), "1.mask.png": png(left_mask())})
    with pytest.raises(DatasetError, match=r"NAME\.msak, only \['mask.png', 'png'\]"):
        TarShards([tmp_path / "a.tar"], columns)


def test_oversized_and_broken_pictures_are_left_out(tmp_path, monkeypatch, caplog):
    picture().save(tmp_path / "good.png")
    picture(size=(80, 80)).save(tmp_path / "huge.png")
    content = bytearray(png(picture(1)))
    content[content.index(b"IDAT") : content.index(b"IDAT") + 4] = b"I\0AT"
    (tmp_path / "broken.png").write_bytes(content)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)
    checked = check(ImageFolder(tmp_path, Columns()), min_side=16)
    assert [checked[i].key for i in range(len(checked))] == ["good.png"]
    assert all(f"skipped {name}" in caplog.text for name in ("huge.png", "broken.png"))


def test_missing_folders_columns_and_broken_lines_are_named(tmp_path):
    with pytest.raises(DatasetError, match="no folder"):
        ImageFolder(tmp_path / "absent", Columns())
    with pytest.raises(DatasetError, match=r"metadata\.jsonl"):
        ImageFolder(tmp_path, Columns(mask="mask"))
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png"}\n')
    with pytest.raises(DatasetError, match=r"has 'text', the first only .*--caption_column"):
        ImageFolder(tmp_path, Columns())
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "text": ""}\n{broken\n')
    with pytest.raises(DatasetError, match="line 2 is no JSON"):
        ImageFolder(tmp_path, Columns())
    (tmp_path / "metadata.jsonl").write_text('["a.png", ""]\n')
    with pytest.raises(DatasetError, match="line 1 is no JSON object"):
        ImageFolder(tmp_path, Columns())
    (tmp_path / "metadata.jsonl").write_bytes('{"file_name": "ä.png"}'.encode("latin-1"))
    with pytest.raises(DatasetError, match="no UTF-8 text"):
        ImageFolder(tmp_path, Columns())


def test_captions_may_stand_in_some_lines_or_beside_the_pictures(tmp_path):
    for i in range(3):
        picture(i).save(tmp_path / f"{i}.png")
    (tmp_path / "1.txt").write_text("one")
    rows = [{"file_name": f"{i}.png"} for i in range(3)]
    for last in ({}, {"text": "two"}):
        lines = map(json.dumps, [*rows[:2], rows[2] | last])
        (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
        folder = ImageFolder(tmp_path, Columns())
        assert [folder[i].caption for i in range(3)] == ["", "one", last.get("text", "")]


def test_cells_that_name_no_file_and_text_of_another_encoding_are_named(tmp_path, caplog):
    for name in "abcde":
        picture().save(tmp_path / f"{name}.png")
    (tmp_path / "e.txt").write_bytes("Käse".encode("cp1252"))
    rows = [{"file_name": f"{name}.png", "edges": f"{name}.png"} for name in "abcde"]
    rows[0]["edges"] = None
    rows[1]["where"] = float("nan")
    rows[2]["file_name"] = None
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    checked = check(ImageFolder(tmp_path, Columns(condition="edges", mask="where")), 16)
    assert [checked[i].key for i in range(len(checked))] == ["d.png"]
    assert "'a.png' has None for 'edges'" in caplog.text
    assert "'b.png' has nan for 'where'" in caplog.text
    assert "e.txt is no UTF-8 text" in caplog.text


def masks_of(folder, mask):
    """The masks of a picture whose mask file is this one."""
    picture().save(folder / "a.png")
    mask.save(folder / "m.png")
    (folder / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "", "m": "m.png"}')
    return ImageFolder(folder, Columns(mask="m"))[0].load().masks


def test_masks_of_zeros_and_ones_and_transparent_ones_mean_the_same_as_white_on_black(tmp_path):
    white = left_mask()
    clear = Image.new("RGBA", white.size, "white")
    clear.putalpha(white)
    for mask in (white, white.point(lambda value: value // 255), white.convert("1"), clear):
        (found,) = masks_of(tmp_path, mask)
        assert np.array_equal(found, np.asarray(white, np.float32) / 255)


def test_masks_that_do_not_mark_with_white_are_refused(tmp_path):
    classes = left_mask().point(lambda value: value // 255).convert("P")
    classes.putpalette([0, 0, 0, 128, 0, 0])  # as PASCAL VOC draws its classes
    with pytest.raises(ValueError, match="nowhere brighter than 38 of 255"):
        masks_of(tmp_path, classes)


def test_unreadable_small_and_misfitting_samples_are_named_and_left_out(tmp_path, caplog):
    picture().save(tmp_path / "good.png")
    picture(size=(8, 8)).save(tmp_path / "small.png")
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(png(picture(3))[:200])
    checked = check(ImageFolder(tmp_path, Columns()), min_side=16)
    assert len(checked) == 1
    assert checked[0].key == "good.png"
    assert all(f"skipped {name}" in caplog.text for name in ("small.png", "text.png", "cut.png"))
    assert "3 of 4 samples are skipped" in caplog.text


def test_nothing_usable_is_an_error(tmp_path):
    with pytest.raises(DatasetError, match="None of the 0 samples"):
        check(ImageFolder(tmp_path, Columns()), 16)


def test_shards_are_read_at_random(tmp_path):
    files = {}
    for i in range(3):
        files[f"{i:04d}.png"] = png(picture(i))
        files[f"{i:04d}.txt"] = f"number {i}".encode()
        files[f"{i:04d}.mask.png"] = png(left_mask())
    shard(tmp_path / "a.tar", files)
    shards = TarShards([tmp_path / "a.tar"], Columns(mask="mask.png"))
    assert len(shards) == 3
    for i in (2, 0, 1):
        sample = shards[i].load()
        assert sample.caption == f"number {i}"
        assert np.array_equal(sample.image, np.asarray(picture(i)))
        assert sample.masks[0, :, :20].all()


def test_suffixes_in_shards_are_told_apart(tmp_path):
    files = {"0.jpg": png(left_mask()), "0.png": png(picture()), "0.words": b"nothing"}
    shard(tmp_path / "a.tar", files)
    named = Columns(image="png", mask="jpg", caption="words")
    for columns in (named, Columns(mask="jpg", caption="words")):
        sample = TarShards([tmp_path / "a.tar"], columns)[0].load()
        assert np.array_equal(sample.image, np.asarray(picture()))
        assert sample.caption == "nothing"
    with pytest.raises(DatasetError, match=r"NAME\.webp.*--image_column"):
        TarShards([tmp_path / "a.tar"], Columns(image="webp"))


@pytest.mark.parametrize("name", ["./{}.{}", "v1.0/{}.{}", "./v1.0/deep/{}.{}"])
def test_samples_of_a_shard_are_told_apart_whatever_their_folder(tmp_path, name):
    files = {name.format(i, "png"): png(picture(i)) for i in range(2)}
    files |= {name.format(i, "txt"): b"number %d" % i for i in range(2)}
    files[name.format("", "DS_Store")] = b"no sample"
    shard(tmp_path / "a.tar", files)
    shards = TarShards([tmp_path / "a.tar"], Columns())
    assert [shards[i].caption for i in range(len(shards))] == ["number 0", "number 1"]
    assert not any("./" in shards[i].key for i in range(2))


def test_a_damaged_shard_is_named(tmp_path):
    path = tmp_path / "a.tar"
    shard(path, {"0.png": png(picture()), "1.png": png(picture(1))})
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DatasetError, match=r"a\.tar cannot be read"):
        TarShards([path], Columns())
    with tarfile.open(path, "w:gz"):
        pass
    with pytest.raises(DatasetError, match="without compression"):
        TarShards([path], Columns())


def hub(folder):
    """A saved data set of two pictures with captions and masks."""
    import datasets

    table = {
        "image": [picture(0), picture(1)],
        "mask": [left_mask(), left_mask()],
        "text": ["zero", "one"],
    }
    kinds = {"image": datasets.Image(), "mask": datasets.Image(), "text": datasets.Value("string")}
    datasets.Dataset.from_dict(table, features=datasets.Features(kinds)).save_to_disk(folder)
    return str(folder)


def test_captions_of_a_hub_data_set_decode_no_pictures(tmp_path, monkeypatch):
    import datasets

    source = HubDataset(hub(tmp_path / "hub"), Columns(image="image", mask="mask"))

    def decode(*_, **__):
        raise AssertionError("a picture was decoded")

    with monkeypatch.context() as patch:
        patch.setattr(datasets.Image, "decode_example", decode)
        assert [source[i].caption for i in range(2)] == ["zero", "one"]
    assert source[0].load().masks[0, :, :20].all()


def test_a_saved_data_set_of_several_splits(tmp_path):
    import datasets

    whole = datasets.load_from_disk(hub(tmp_path / "one"))
    splits = {"train": whole.select([0]), "test": whole.select([1])}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "several")
    assert is_saved(tmp_path / "several")
    columns = Columns(image="image")
    source = HubDataset(str(tmp_path / "several"), columns, "test")
    assert [source[i].caption for i in range(len(source))] == ["one"]
    with pytest.raises(DatasetError, match=r"no split 'other', only \['train', 'test'\]"):
        HubDataset(str(tmp_path / "several"), columns, "other")


def test_of_several_captions_the_first_is_taken(tmp_path):
    import datasets

    table = {"image": [picture(i) for i in range(3)], "text": [["one", "two"], [], ["three"]]}
    kinds = {
        "image": datasets.Image(),
        "text": datasets.Sequence(datasets.Value("string")),
    }
    found = datasets.Dataset.from_dict(table, features=datasets.Features(kinds))
    found.save_to_disk(tmp_path / "hub")
    source = HubDataset(str(tmp_path / "hub"), Columns(image="image"))
    assert [source[i].caption for i in range(3)] == ["one", "", "three"]


def test_a_local_hub_data_set(tmp_path):
    hub(tmp_path / "hub")
    source = HubDataset(str(tmp_path / "hub"), Columns(image="image"))
    assert np.array_equal(source[1].load().image, np.asarray(picture(1)))
    assert source[1].caption == "one"
    with pytest.raises(DatasetError, match="no column 'caption'"):
        HubDataset(str(tmp_path / "hub"), Columns(image="image", caption="caption"))


def test_cells_of_a_hub_data_set_may_hold_several_masks_or_none(tmp_path):
    import datasets

    table = {
        "image": [picture(i) for i in range(3)],
        "other": ["a.png"] * 3,
        "text": [""] * 3,
        "mask": [left_mask(), left_mask(), None],
        "masks": [[left_mask(), left_mask()], [left_mask()], []],
    }
    kinds = {
        "image": datasets.Image(),
        "other": datasets.Value("string"),
        "text": datasets.Value("string"),
        "mask": datasets.Image(),
        "masks": datasets.Sequence(datasets.Image()),
    }
    found = datasets.Dataset.from_dict(table, features=datasets.Features(kinds))
    found.save_to_disk(tmp_path / "hub")

    def masks(column):
        source = HubDataset(str(tmp_path / "hub"), Columns(image="image", mask=column))
        return [source[i].load().masks.shape for i in range(3)]

    assert masks("mask") == [(1, 32, 40), (1, 32, 40), (0, 32, 40)]
    assert masks("masks") == [(2, 32, 40), (1, 32, 40), (0, 32, 40)]
    with pytest.raises(DatasetError, match=r"column 'other' holds str, no picture"):
        check(HubDataset(str(tmp_path / "hub"), Columns(image="other")), 16)
    first, other = (HubDataset(str(tmp_path / "hub"), Columns(image=c)) for c in ("image", "other"))
    assert first[0].stamp != other[0].stamp


def test_a_hub_data_set_that_cannot_be_loaded_is_a_sentence(tmp_path):
    picture().save(tmp_path / "a.png")
    with pytest.raises(DatasetError, match=r"cannot be loaded .* see --dataset_name"):
        HubDataset(str(tmp_path), Columns(image="image"), "validation")


def test_coco_gives_captions_and_instance_masks(tmp_path):
    picture().save(tmp_path / "x.png")
    runs = {"size": [32, 40], "counts": [0, 32 * 10, 32 * 30]}  # ten columns from the left
    instances = {
        "images": [{"id": 7, "file_name": "x.png", "width": 40, "height": 32}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"image_id": 7, "category_id": 1, "segmentation": [[0, 0, 20, 0, 20, 32, 0, 32]]},
            {"image_id": 7, "category_id": 1, "segmentation": runs},
        ],
    }
    (tmp_path / "instances.json").write_text(json.dumps(instances))
    captions = {"annotations": [{"image_id": 7, "caption": "a cat sits"}]}
    (tmp_path / "captions.json").write_text(json.dumps(captions))
    sample = Coco(tmp_path, tmp_path / "instances.json", tmp_path / "captions.json")[0].load()
    assert sample.caption == "a cat sits"
    assert sample.masks.shape == (2, 32, 40)
    assert sample.masks[0].mean() == pytest.approx(0.5, abs=0.05)
    assert sample.masks[1].mean() == 0.25
    assert Coco(tmp_path, tmp_path / "instances.json")[0].caption == "cat"


def coco_of(folder, segmentations, size=(40, 32)):
    image = {"id": 7, "file_name": "x.png", "width": size[0], "height": size[1]}
    entries = [{"image_id": 7, "category_id": 1} | found for found in segmentations]
    path = folder / "instances.json"
    path.write_text(json.dumps({"images": [image], "annotations": entries}))
    return Coco(folder, path)


def test_coco_annotations_without_a_shape_are_left_out_and_broken_ones_named(tmp_path):
    picture().save(tmp_path / "x.png")
    left = {"segmentation": [[0, 0, 20, 0, 20, 32, 0, 32]]}
    found = coco_of(tmp_path, [{"segmentation": []}, {"bbox": [0, 0, 9, 9]}, left])[0].load()
    assert found.masks.shape == (1, 32, 40)
    with pytest.raises(DatasetError, match="less than three corners"):
        check(coco_of(tmp_path, [{"segmentation": [[1, 1]]}]), 16)


@pytest.mark.parametrize("text", ["{broken", "[]", '{"images": []}'])
def test_annotations_that_are_not_as_coco_writes_them_are_a_sentence(tmp_path, text):
    (tmp_path / "instances.json").write_text(text)
    with pytest.raises(DatasetError, match=r"instances\.json (is no JSON|has no list)"):
        Coco(tmp_path, tmp_path / "instances.json")


def test_coco_masks_are_scaled_with_the_picture(tmp_path):
    picture().save(tmp_path / "x.png")
    left = {"segmentation": [[0, 0, 40, 0, 40, 64, 0, 64]]}
    (mask,) = coco_of(tmp_path, [left], (80, 64))[0].load().masks
    assert mask.shape == (32, 40)
    assert mask.mean() == pytest.approx(0.5, abs=0.05)
    with pytest.raises(DatasetError, match="picture is 40 x 32, its annotation of 64 x 64"):
        check(coco_of(tmp_path, [left], (64, 64)), 16)


def sources(folder):
    """A small data set of every kind, each with a mask where it can have one."""
    table = folder / "table"
    table.mkdir()
    picture().save(table / "a.png")
    left_mask().save(table / "m.png")
    row = {"file_name": "a.png", "text": "", "edges": "a.png", "where": ["m.png"]}
    (table / "metadata.jsonl").write_text(json.dumps(row))
    yield ImageFolder(table, Columns(condition="edges", mask="where"))
    names = {"1.png": picture(), "1.edges.png": picture(1), "1.mask.png": left_mask()}
    shard(folder / "a.tar", {name: png(found) for name, found in names.items()})
    yield TarShards([folder / "a.tar"], Columns(condition="edges.png", mask="mask.png"))
    yield HubDataset(hub(folder / "hub"), Columns(image="image", condition="image", mask="mask"))
    outline = {"image_id": 7, "category_id": 1, "segmentation": [[0, 0, 20, 0, 20, 32, 0, 32]]}
    image = {"id": 7, "file_name": "a.png", "width": 40, "height": 32}
    instances = {"images": [image], "annotations": [outline]}
    (folder / "instances.json").write_text(json.dumps(instances))
    yield Coco(table, folder / "instances.json")


def test_records_of_every_source_can_be_sent_to_workers(tmp_path):
    for source in sources(tmp_path):
        one, other = (pickle.loads(pickle.dumps(source)) for _ in range(2))
        record = pickle.loads(pickle.dumps(source[0]))
        for sample in (one[0].load(), other[0].load(), record.load()):
            assert np.array_equal(sample.image, source[0].load().image)
            assert np.array_equal(sample.masks, source[0].load().masks)


def test_pictures_are_turned_upright_and_transparency_is_white():
    image = picture()
    exif = image.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=exif)
    assert to_rgb(Image.open(buffer)).shape == (40, 32, 3)
    assert to_rgb(Image.new("RGBA", (4, 4), (0, 0, 0, 0))).min() == 255


def test_sixteen_bits_are_scaled_and_values_without_a_white_refused(tmp_path):
    ramp = np.linspace(0, 65535, 40 * 32, dtype=np.uint16).reshape(32, 40)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    wanted = (ramp // 257).astype(np.uint8)
    assert np.array_equal(to_rgb(Image.open(tmp_path / "a.png"))[..., 0], wanted)
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "", "m": "a.png"}')
    (mask,) = ImageFolder(tmp_path, Columns(mask="m"))[0].load().masks
    assert np.array_equal(mask, wanted.astype(np.float32) / 255)
    for values in (ramp.astype(np.int32), ramp.astype(np.float32)):
        Image.fromarray(values).save(tmp_path / "a.tiff")
        with pytest.raises(ValueError, match="8 or 16 bits a channel"):
            to_rgb(Image.open(tmp_path / "a.tiff"))


@pytest.mark.parametrize("kind", ["shards", "hub"])
def test_a_check_is_not_of_other_columns(tmp_path, kind):
    if kind == "shards":
        files = {f"{i}.{end}": png(what) for i in range(3) for end, what in pair(i)}
        shard(tmp_path / "a.tar", files)

        def source(mask):
            return TarShards([tmp_path / "a.tar"], Columns(mask=mask and "mask.png"))
    else:
        import datasets

        table = {"image": [picture(i) for i in range(3)], "text": [""] * 3}
        table["mask"] = [dict(pair(i))["mask.png"] for i in range(3)]
        kinds = {"image": datasets.Image(), "mask": datasets.Image()}
        kinds["text"] = datasets.Value("string")
        found = datasets.Dataset.from_dict(table, features=datasets.Features(kinds))
        found.save_to_disk(tmp_path / "hub")

        def source(mask):
            return HubDataset(str(tmp_path / "hub"), Columns(image="image", mask=mask))

    for order in ((None, "mask"), ("mask", None)):
        kept = tmp_path / str(order)
        counts = {mask: len(check_once(source(mask), 16, None, kept)) for mask in order}
        assert counts == {None: 3, "mask": 2}


def pair(index):
    """A picture, and a mask, which is too small for the first one."""
    return [("png", picture(index)), ("mask.png", left_mask((40, 32) if index else (20, 16)))]


def test_what_was_skipped_is_named_again_from_what_is_kept(tmp_path, caplog):
    picture().save(tmp_path / "a.png")
    for index in range(12):
        (tmp_path / f"bad{index}.png").write_text("no picture")
    for _ in range(2):
        caplog.clear()
        check_once(ImageFolder(tmp_path, Columns()), 16, None, tmp_path / "kept")
        assert caplog.text.count("skipped bad") == 10
        assert "12 of 13 samples are skipped" in caplog.text
    (path,) = (tmp_path / "kept").glob("checked-*.json")
    assert len(json.loads(path.read_text())["skipped"]) == 12


def test_a_check_is_kept_until_something_changes(tmp_path, monkeypatch):
    picture().save(tmp_path / "a.png")
    source, kept = ImageFolder(tmp_path, Columns()), tmp_path / "kept"
    first = check_once(source, 16, None, kept)
    with monkeypatch.context() as patch:
        patch.setattr("training.data.checked.check", None)
        assert check_once(source, 16, None, kept).sizes == first.sizes
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(DatasetError):
        check_once(source, 16, None, kept)


def test_most_held_out_samples_stay_so_as_the_set_grows(tmp_path):
    for index in range(20):
        picture(index).save(tmp_path / f"{index:02d}.png")
    before = hold_out(check(ImageFolder(tmp_path, Columns()), 16), 0.2)
    for index in range(20, 25):
        picture(index).save(tmp_path / f"{index:02d}.png")
    after = hold_out(check(ImageFolder(tmp_path, Columns()), 16), 0.2)
    keys = [{part[i].key for i in range(len(part))} for part in (*before, *after)]
    assert (len(keys[0]), len(keys[1])) == (16, 4)
    assert not keys[0] & keys[1]
    assert len(keys[1] & keys[3]) >= 3
