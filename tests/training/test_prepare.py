"""What is cached, for how long it holds, and what an example is made of."""

import json
import logging
import os
import pickle
import shutil

import cv2
import numpy as np
import pytest
import torch
from prepared import damage, drop, entries, examples_of, latents, prepare
from small_base import pictures
from torch.utils.data import DataLoader

from training.cached import building
from training.cached.building import build_examples
from training.data.buckets import Assigned, assign_buckets
from training.data.records import DatasetError, Record
from training.loop.examples import Division, Places, collate
from training.loop.plan import EpochPlan
from training.loop.prepare import open_base


@pytest.fixture
def own(make_settings, tmp_path):
    """Settings with pictures and a cache of the test's own."""
    folder = pictures(tmp_path / "pictures", 5, (96, 64))

    def make(**changes):
        options = {"train_data_dir": folder, "cache_dir": tmp_path / "cache"}
        return make_settings(**options | changes)

    return make


def names(settings):
    return entries(settings.cache_folder).keys()


def test_a_second_run_makes_nothing_anew(own):
    prepare(own())
    before = {path: path.stat().st_mtime_ns for path in own().cache_folder.rglob("*")}
    prepare(own(seed=7, z0_loss_weight=0.0))
    assert before == {path: path.stat().st_mtime_ns for path in own().cache_folder.rglob("*")}


@pytest.mark.parametrize(
    "change",
    [
        {"condition": "sobel"},
        {"canny_low": 50.0},
        {"random_flip": True, "crop_variants": 4},
        {"invert_masks": True},
    ],
)
def test_what_changes_an_example_makes_it_anew(own, change):
    prepare(own())
    before = names(own())
    prepare(own(**change))
    assert names(own()) > before


def test_a_changed_picture_or_caption_is_never_stale(own):
    settings = own()
    prepare(settings)
    before = names(settings)
    folder = settings.train_data_dir
    (folder / "0.png").write_bytes((folder / "1.png").read_bytes())
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    rows[2]["text"] = "something else"
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    prepare(settings)
    # The picture's latent and condition, and the caption.
    assert len(names(settings) - before) == 3


def same_times(folder):
    """As after cp -p, tar or git."""
    for path in folder.iterdir():
        os.utime(path, (1e9, 1e9))


def test_each_row_trains_with_its_own_mask(own):
    """Of masks that no size and no time tells apart."""
    folder = own().train_data_dir
    for name, top in (("top", True), ("bottom", False)):
        mask = np.zeros((96, 64), np.uint8)
        mask[: 48 if top else 96][0 if top else 48 :] = 255
        cv2.imwrite(str(folder / f"{name}.bmp"), mask)
    same_times(folder)
    rows = [
        {"file_name": f"{i}.png", "text": name, "mask": f"{name}.bmp"}
        for i in range(3)
        for name in ("top", "bottom")
    ]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = prepare(own())
    for part in (data.train, data.held_out):
        for index in range(len(part.data)):
            (mask,) = data.prepared.example(part, index, 0).masks
            brighter = "top" if mask[:32].mean() > mask[32:].mean() else "bottom"
            assert brighter == part.data[index].caption


def test_a_second_data_set_of_the_same_names_sizes_and_times_has_latents_of_its_own(own, tmp_path):
    for name, seed in (("one", 0), ("two", 10)):
        (tmp_path / name).mkdir()
        for index in range(4):
            pixels = np.random.default_rng(seed + index).integers(0, 255, (64, 64, 3), np.uint8)
            cv2.imwrite(str(tmp_path / name / f"{index}.bmp"), pixels)
        same_times(tmp_path / name)

    def latents(name):
        data = prepare(own(train_data_dir=tmp_path / name, mask_column=None))
        count = len(data.train.data)
        return torch.stack([data.prepared.example(data.train, i, 0).latent for i in range(count)])

    one, two = latents("one"), latents("two")
    assert not torch.isclose(one, two).all()
    shutil.copy(tmp_path / "two" / "0.bmp", tmp_path / "one" / "0.bmp")
    shutil.copy(tmp_path / "two" / "1.bmp", tmp_path / "one" / "1.bmp")
    same_times(tmp_path / "one")
    assert not torch.equal(latents("one"), one)


def test_what_is_trained_on_is_told(own, caplog):
    folder = own().train_data_dir
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    rows[0]["text"] = ""
    cv2.imwrite(str(folder / rows[1]["mask"]), np.zeros((96, 64), np.uint8))
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with caplog.at_level(logging.INFO):
        prepare(own(mask_source="dataset"))
    assert "4 pictures to train on and 1 held out; 2 steps an epoch" in caplog.text
    assert (
        f"global batch of 2, so 6 steps are 3.0 epochs; the cache is in {own().cache_folder}"
        in caplog.text
    )
    assert "Only 1 pictures are held out" in caplog.text
    assert "1 of 5 pictures have no caption" in caplog.text
    assert "1 of 5 pictures have masks that are black everywhere" in caplog.text


def test_a_long_caption_is_no_wall_of_text(own, caplog, capsys):
    folder = own().train_data_dir
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    rows[0]["text"] = "word " * 10_000
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    prepare(own())
    assert "1 captions are longer than the text encoder reads" in caplog.text
    shown = capsys.readouterr()
    assert len(caplog.text) + len(shown.err) + len(shown.out) < 5000


def test_another_condition_keeps_the_latents(own):
    prepare(own())
    before = names(own())
    prepare(own(condition="colour"))
    assert len(names(own()) - before) == 5  # one for each picture


def test_a_stopped_build_goes_on(own):
    """What is made in other company has the same bytes."""
    settings = own()
    prepare(settings)
    whole = entries(settings.cache_folder)
    for kept in range(3):
        drop(settings.cache_folder, sorted(whole)[kept::3])
        assert len(entries(settings.cache_folder)) < len(whole)
        prepare(settings)
        assert entries(settings.cache_folder) == whole


def test_no_crop_is_made_twice_and_held_out_pictures_have_one(own, monkeypatch):
    made = []

    def counting(*args):
        made.append(build_examples(*args))

    monkeypatch.setattr("training.loop.prepare.build_examples", counting)
    data = prepare(own(center_crop=True, crop_variants=4))
    assert made == [len(data.train.data), len(data.held_out.data)]
    made.clear()
    data = prepare(own(crop_variants=4, condition="sobel"))  # room to move in one direction
    assert len(data.train.data) < made[0] <= 4 * len(data.train.data)
    assert made[1] == len(data.held_out.data)
    assert all(data.prepared.example(data.train, 0, variant) for variant in range(4))


def test_latents_that_are_not_finite_are_not_kept(own):
    settings = own()
    base = open_base(settings)
    with torch.no_grad():
        base.pipeline.vae.encoder.layers[0].bias[0] = 1e30
    with pytest.raises(
        DatasetError, match=r"latent of \d\.png is not finite; use --vae_dtype fp32"
    ):
        prepare(settings, base)
    assert not latents(own().cache_folder)


def test_a_shard_that_was_cut_short_is_made_anew(own):
    settings = own()
    prepare(settings)
    whole = entries(settings.cache_folder)
    for path in settings.cache_folder.glob("shard-*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    data = prepare(settings)
    assert entries(settings.cache_folder) == whole
    assert all(data.prepared.example(data.train, i, 0) for i in range(len(data.train.data)))


def test_entries_that_are_damaged_are_named_and_made_anew_at_the_next_start(own):
    settings = own()
    data = prepare(settings)
    whole = entries(settings.cache_folder)
    crop, entry = data.prepared.making.crop(data.train, 0, 0), data.train.data.entry(0)
    damage(settings.cache_folder, data.prepared.latent_name(entry.digests, crop))
    data = prepare(settings)
    with pytest.raises(DatasetError, match="start again, and it is made anew"):
        data.prepared.example(data.train, 0, 0)
    data = prepare(settings)
    assert entries(settings.cache_folder) == whole
    assert all(data.prepared.example(data.train, i, 0) for i in range(len(data.train.data)))


def test_a_build_that_is_stopped_keeps_what_it_has_made(own, monkeypatch):
    """Whatever stops it: what was gathered is written."""
    settings, keep, done = own(), building._keep, []

    def until_the_user_stops(*arguments):
        if len(done) == 1:
            raise KeyboardInterrupt
        done.append(keep(*arguments))

    monkeypatch.setattr(building, "_encode_batch", lambda size: 2)
    with monkeypatch.context() as patch:
        patch.setattr(building, "_keep", until_the_user_stops)
        with pytest.raises(KeyboardInterrupt):
            prepare(settings)
    made = entries(settings.cache_folder)
    assert len(latents(settings.cache_folder)) == 2
    prepare(settings)
    whole = entries(settings.cache_folder)
    assert made.items() < whole.items()


def test_a_warm_start_looks_at_no_picture_and_makes_nothing(own, monkeypatch):
    first = prepare(own())
    for name in ("build_examples", "build_text"):
        monkeypatch.setattr(f"training.loop.prepare.{name}", None)
    monkeypatch.setattr(Record, "load", None)
    again = prepare(own())
    one, other = (data.prepared.example(data.train, 0, 0) for data in (first, again))
    assert torch.equal(one.latent, other.latent)


def test_what_workers_are_sent_can_be_pickled_and_holds_no_base(own, monkeypatch):
    settings = own()
    modules = open_base(settings).pipeline.components.values()
    parameters = [list(m.parameters()) for m in modules if isinstance(m, torch.nn.Module)]
    smallest = min(sum(weight.nbytes for weight in weights) for weights in parameters)

    def send(dataset, **options):
        assert len(pickle.dumps(dataset)) < smallest / 2
        return DataLoader(pickle.loads(pickle.dumps(dataset)), **options)

    monkeypatch.setattr("training.cached.building.DataLoader", send)
    data = prepare(settings)
    examples = examples_of(settings, data)
    assert len(pickle.dumps(examples)) < smallest / 2
    sent = pickle.loads(pickle.dumps(examples))
    assert torch.equal(sent[0, 1]["z0"], examples[0, 1]["z0"])


def test_a_folder_without_captions_is_told_of(own, caplog):
    folder = own().train_data_dir
    (folder / "metadata.jsonl").unlink()
    prepare(own(mask_column=None))
    assert "No picture has a caption" in caplog.text


def test_an_example_holds_the_picture_that_its_latent_was_made_of(own):
    settings = own(mask_source="dataset", mask_shares={"exact": 1.0}, random_flip=True)
    base = open_base(settings)
    data = prepare(settings, base)
    for index in range(len(data.train.data)):
        example = examples_of(settings, data)[index, index]
        image = data.prepared.picture(data.train, index, 0)
        z0 = base.encode_images(image[None])[0]
        torch.testing.assert_close(example["z0"], z0, rtol=1e-2, atol=1e-2)
        assert torch.equal(example["condition"], settings.made_condition()(image[None])[0])
        # The mask is the disc, which is the bright part of the picture.
        bright = (image.max(0).values > 0.5).float()
        assert (bright - example["mask"][0]).abs().mean() < 0.02


def test_inverted_masks_are_white_where_the_file_is_black(own):
    options = {"mask_source": "dataset", "mask_shares": {"exact": 1.0}}
    masks = []
    for inverted in (False, True):
        settings = own(**options, invert_masks=inverted)
        data = prepare(settings)
        masks.append(examples_of(settings, data)[0, 0]["mask"])
    torch.testing.assert_close(masks[0], 1 - masks[1])


def test_masked_conditions_are_blank_outside(own):
    settings = own(masked_condition_share=1.0, mask_shares={"box": 1.0})
    data = prepare(settings)
    for position in range(8):
        example = examples_of(settings, data)[position, 0]
        assert (example["condition"] * (1 - example["mask"])).sum() == 0


def test_a_colour_condition_has_three_channels(own):
    settings = own(condition="colour")
    data = prepare(settings)
    assert examples_of(settings, data)[0, 0]["condition"].shape == (3, 64, 64)


def test_empty_prompts_have_their_share(own):
    settings = own(proportion_empty_prompts=0.5)
    data = prepare(settings)
    examples = examples_of(settings, data)
    empty = data.prepared.embedding("")["context"]
    count = sum(torch.equal(examples[i, 0]["context"], empty) for i in range(200))
    assert 70 < count < 130


def test_draws_differ_between_positions_and_are_the_same_for_one(own):
    settings = own()
    data = prepare(settings)
    examples = examples_of(settings, data)
    one, again, other = examples[3, 0], examples[3, 0], examples[4, 0]
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert not torch.equal(one["noise"], other["noise"])


def test_picture_condition_and_mask_stay_aligned_in_buckets_of_other_shapes(
    make_settings, tmp_path
):
    rows = []
    for name, size in (("tall", (280, 130)), ("wide", (130, 280))):
        folder = pictures(tmp_path / "mixed" / name, 4, size)
        for line in (folder / "metadata.jsonl").read_text().splitlines():
            row = {key: f"{name}/{value}" for key, value in json.loads(line).items()}
            rows.append(row | {"guide": row["file_name"]})
    (tmp_path / "mixed" / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    settings = make_settings(
        train_data_dir=tmp_path / "mixed",
        mask_source="dataset",
        mask_shares={"exact": 1.0},
        conditioning_image_column="guide",
        aspect_ratio_buckets=True,
        random_flip=True,
        resolution=192,
        train_batch_size=1,
    )
    data = prepare(settings)
    assert {data.train.buckets[i] for i in range(len(data.train.data))} == {(256, 128), (128, 256)}
    for index in range(len(data.train.data)):
        image = data.prepared.picture(data.train, index, 0)
        assert (image.shape[1] > image.shape[2]) == data.train.data[index].key.startswith("tall")
        example = examples_of(settings, data)[0, index]
        assert (example["condition"] - image).abs().mean() < 0.02
        bright = (image.max(0).values > 0.5).float()
        assert bright.mean() > 0.005
        assert (bright - example["mask"][0]).abs().mean() < 0.005


def test_time_ids_tell_where_the_crop_was_cut(own):
    settings = own()
    data = prepare(settings)
    corners = []
    for index in range(len(data.train.data)):
        height, width, top, left, *size = (
            data.prepared.example(data.train, index, 0).time_ids.int().tolist()
        )
        assert (height, width, left, size) == (96, 64, 0, [64, 64])
        whole = torch.from_numpy(data.train.data[index].load().image).movedim(-1, 0) / 255
        assert torch.equal(data.prepared.picture(data.train, index, 0), whole[:, top : top + 64])
        corners.append(top)
    assert set(corners) - {0, 16}  # neither the beginning nor the centre


def test_masks_are_asked_for(own, tmp_path):
    settings = own(mask_source="dataset", mask_column=None)
    with pytest.raises(DatasetError, match="--mask_column"):
        prepare(settings)


def test_pictures_without_a_mask_are_counted_where_only_masks_are_drawn(own, caplog):
    table = own().train_data_dir / "metadata.jsonl"
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    rows[0]["mask"] = None
    table.write_text("\n".join(map(json.dumps, rows)))
    prepare(own(mask_source="dataset"))
    assert "1 of 5 pictures have no mask" in caplog.text


def test_one_picture_is_too_few(make_settings, tmp_path):
    folder = pictures(tmp_path / "single", 1)
    with pytest.raises(DatasetError, match="one must be held out"):
        prepare(make_settings(train_data_dir=folder))


def test_every_picture_is_seen_in_every_epoch_by_batches_of_one_bucket():
    buckets = [(64, 64)] * 7 + [(64, 128)] * 5
    plan = EpochPlan(Assigned.of(buckets), batch=3, seed=0)
    assert plan.steps_per_epoch == 5
    for epoch in range(3):
        steps = [plan.step(epoch * 5 + i) for i in range(5)]
        assert set(np.concatenate(steps)) == set(range(12))
        assert all(len({buckets[i] for i in step}) == 1 for step in steps)
    assert plan.step(0) == EpochPlan(Assigned.of(buckets), 3, 0).step(0)
    assert [plan.step(i) for i in range(5)] != [plan.step(5 + i) for i in range(5)]


def test_buckets_smaller_than_a_batch_join_their_neighbour():
    sizes = np.array([(100, 100)] * 6 + [(100, 200)] * 2)
    few, many = (assign_buckets(sizes, [(64, 64), (64, 128)], batch) for batch in (4, 2))
    assert {few[index] for index in range(8)} == {(64, 64)}
    assert [many[index] for index in range(8)] == [(64, 64)] * 6 + [(64, 128)] * 2
    assert [len(members) for members in many.members()] == [6, 2]


def test_processes_and_parts_share_a_global_batch():
    plan = EpochPlan(Assigned.of([(64, 64)] * 20), batch=8, seed=0)
    whole = Places(plan, Division(8), range(2))
    ranks = [list(Places(plan, Division(2, 2, rank, 2), range(2))) for rank in range(2)]
    together = [place for pair in zip(*ranks, strict=True) for part in pair for place in part]
    assert together == [place for batch in whole for place in batch]


def test_time_ids_are_only_for_models_with_pooled_text(own):
    settings = own()
    data = prepare(settings)
    example = examples_of(settings, data)[0, 0]
    assert collate([example]).added() is None
    assert collate([example | {"pooled": torch.zeros(16)}]).added() is not None
