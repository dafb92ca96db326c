"""COCO: captions and instance masks, and annotations that are none."""

import json
import os
import tracemalloc

import numpy as np
import pytest
from data_sets import keys, noise_image, records, usable
from pycocotools import mask as coco_masks

from training.data.coco import Coco
from training.data.polygons import draw
from training.data.records import DatasetError

LEFT = [[0, 0, 20, 0, 20, 32, 0, 32]]


def coco_of(folder, segmentations, size=(40, 32), **image):
    noise_image().save(folder / "x.png")
    about = {"id": 7, "file_name": "x.png", "width": size[0], "height": size[1]} | image
    entries = [{"image_id": 7, "category_id": 1, "segmentation": s} for s in segmentations]
    path = folder / "instances.json"
    path.write_text(json.dumps({"images": [about], "annotations": entries}))
    return Coco(folder, path)


def test_it_gives_captions_and_instance_masks(tmp_path):
    noise_image().save(tmp_path / "x.png")
    runs = {"size": [32, 40], "counts": [0, 32 * 10, 32 * 30]}  # ten columns from the left
    instances = {
        "images": [{"id": 7, "file_name": "x.png", "width": 40, "height": 32}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"image_id": 7, "category_id": 1, "segmentation": LEFT},
            {"image_id": 7, "category_id": 1, "segmentation": runs},
        ],
    }
    (tmp_path / "instances.json").write_text(json.dumps(instances))
    captions = {"annotations": [{"image_id": 7, "caption": "a cat sits"}]}
    (tmp_path / "captions.json").write_text(json.dumps(captions))
    files = tmp_path / "instances.json", tmp_path / "captions.json"
    sample = records(Coco(tmp_path, *files))[0].load()
    assert sample.caption == "a cat sits"
    assert sample.masks.shape == (2, 32, 40)
    assert sample.masks[0].mean() / 255 == pytest.approx(0.5, abs=0.05)
    assert sample.masks[1].mean() / 255 == 0.25
    assert records(Coco(tmp_path, files[0]))[0].words() == "cat"


def test_run_lengths_are_as_its_library_reads_them():
    mask = np.zeros((32, 40), np.uint8)
    mask[3:20, 5:30] = 1
    mask[10, ::3] ^= 1
    packed = coco_masks.encode(np.asfortranarray(mask))
    text = {"size": [32, 40], "counts": packed["counts"].decode()}
    assert np.array_equal(draw(text, (32, 40)), mask)


def test_sizes_that_are_written_as_floats_are_read(tmp_path):
    (record,) = records(coco_of(tmp_path, [LEFT], width=40.0, height=32.0))
    assert record.load().masks[0].mean() / 255 == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    "width", [0, -40, 40.5, float("nan"), float("inf"), "40", None, True, [40]]
)
def test_a_size_that_is_none_is_named(tmp_path, width, caplog):
    with pytest.raises(DatasetError, match="for its height and width"):
        usable(coco_of(tmp_path, [LEFT], width=width), tmp_path)


def test_annotations_without_a_shape_are_left_out(tmp_path):
    (record,) = records(coco_of(tmp_path, [[], None, LEFT]))
    assert record.load().masks.shape == (1, 32, 40)


RUNS = {"size": [32, 40]}


@pytest.mark.parametrize(
    ("segmentation", "told"),
    [
        ([[1, 1]], "less than three corners"),
        (RUNS | {"counts": [5]}, "make 5 pixels, not 1280"),
        (RUNS | {"counts": [1280, 5]}, "make 1285 pixels"),
        (RUNS | {"counts": [-5, 1285]}, "no list of counts"),
        (RUNS | {"counts": ["a"]}, "no list of counts"),
        (RUNS | {"counts": None}, "no list of counts"),
        (RUNS | {"counts": "zzzz"}, "run lengths"),
        (RUNS | {"counts": "5"}, "make 5 pixels"),
        (RUNS, "no list of counts"),
        ({"size": [40, 32], "counts": [1280]}, "not of 40 x 32"),
        ({"size": "x", "counts": [1280]}, "not of 40 x 32"),
        ([[0, 0, float("nan"), 0, 9, 9]], "no list of pairs of numbers"),
        ([[0, 0, 1e300, 0, 9, 9]], "no list of pairs of numbers"),
        ([[0, 0, 5000, 0, 9, 9]], "leads far out"),
        ([["a"] * 6], "no list of pairs of numbers"),
        ([[0, 0, 9, 0, 9, 9, 1]], "no list of pairs of numbers"),
        ([[0, 0, 39, 31] * 20_000], "too many edges"),
        ("text", "is a str"),
        (7, "is a int"),
    ],
)
def test_shapes_that_are_not_sound_are_named_and_never_drawn(tmp_path, segmentation, told):
    with pytest.raises(DatasetError, match=told):
        usable(coco_of(tmp_path, [segmentation]), tmp_path)


@pytest.mark.parametrize(
    "about",
    [
        {"height": 10**6, "width": 10**6},
        {"height": None},
        {"width": "40"},
        {"height": -32},
        {"file_name": None},
        {"file_name": 5},
        {"file_name": "../x.png"},
        {"file_name": "\ud800.png"},
    ],
)
def test_pictures_of_no_name_or_size_are_named(tmp_path, about):
    folder = tmp_path / "set"
    folder.mkdir()
    with pytest.raises(DatasetError, match="None of the 1 samples"):
        usable(coco_of(folder, [LEFT], **about), folder)


def test_entries_of_any_type_end_nothing(tmp_path):
    for name in ("x", "y"):
        noise_image().save(tmp_path / f"{name}.png")
    images = [
        {"id": "b", "file_name": "x.png", "width": 40, "height": 32},
        {"id": [1], "file_name": "y.png", "width": 40, "height": 32},
        *(None, 3, {}, {"id": {"a": 1}}),
    ]
    annotations = [
        {"image_id": [1], "category_id": [2], "segmentation": LEFT},
        {"segmentation": LEFT},
        *(None, []),
    ]
    content = {"images": images, "annotations": annotations}
    for categories in (None, [None, {"id": [2], "name": "cat"}, {"name": 3}]):
        (tmp_path / "i.json").write_text(json.dumps(content | {"categories": categories}))
        found = usable(Coco(tmp_path, tmp_path / "i.json"), tmp_path)
        assert sorted(keys(found)) == ["x.png", "y.png"]
        captions = {found[index].key: found[index].caption for index in range(2)}
        assert captions["y.png"] == ("cat" if categories else "")


@pytest.mark.parametrize("text", ["{broken", "[]", '{"images": []}', "[" * 10**5, "\udc80"])
def test_annotations_that_are_not_as_coco_writes_them_are_a_sentence(tmp_path, text):
    (tmp_path / "instances.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DatasetError, match=r"instances\.json (is no JSON|has no list)"):
        records(Coco(tmp_path, tmp_path / "instances.json"))


@pytest.mark.parametrize("categories", [5, "cat", {"id": 1, "name": "cat"}])
def test_categories_that_are_no_list_are_a_sentence(tmp_path, categories):
    content = {"images": [], "annotations": [], "categories": categories}
    (tmp_path / "instances.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=r"instances\.json has no list for its 'categories'"):
        records(Coco(tmp_path, tmp_path / "instances.json"))


def test_masks_are_scaled_with_the_picture(tmp_path):
    left = [[0, 0, 40, 0, 40, 64, 0, 64]]
    (mask,) = records(coco_of(tmp_path, [left], (80, 64)))[0].load().masks
    assert mask.shape == (32, 40)
    assert mask.mean() / 255 == pytest.approx(0.5, abs=0.05)
    with pytest.raises(DatasetError, match="picture is 40 x 32, its annotation of 64 x 64"):
        usable(coco_of(tmp_path, [left], (64, 64)), tmp_path)


@pytest.mark.parametrize("way", ["outside", "link", "hidden"])
def test_a_picture_that_changes_is_checked_anew_wherever_it_is(tmp_path, way):
    folder, beside = tmp_path / "set", tmp_path / "beside"
    for path in (folder / ".hidden", beside):
        path.mkdir(parents=True)
    os.symlink(beside, folder / "link")
    paths = {"outside": beside / "p.bmp", "link": beside / "p.bmp"}
    path = paths.get(way, folder / ".hidden" / "p.bmp")
    name = {"outside": "../beside/p.bmp", "link": "link/p.bmp", "hidden": ".hidden/p.bmp"}[way]
    coco_of(folder, [LEFT], file_name=name)

    def found():
        return usable(Coco(folder, folder / "instances.json", outside=way != "hidden"), tmp_path)

    digests = []
    for seed in range(2):
        noise_image(seed).save(path)
        os.utime(path, (1e9, 1e9))
        digests.append(found().entry(0).digests.image)
    assert digests[0] != digests[1]


CORNERS = [[0, 0, 1500, 0, 1500, 3000, 0, 3000]]
STRIPES = {"size": [3000, 3000], "counts": [0, *[1500] * 6000]}


@pytest.mark.parametrize("shape", [CORNERS, STRIPES])
def test_a_frame_that_is_larger_than_its_picture_takes_no_more_than_is_told(tmp_path, shape):
    image = noise_image(size=(64, 64))
    (record,) = records(coco_of(tmp_path, [shape] * 2, (3000, 3000)))
    image.save(tmp_path / "x.png")
    tracemalloc.start()
    try:
        record.load()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 3000 * 3000 < peak <= record.footprint() < 6 * 3000 * 3000
