"""What validation shows and measures."""

import math

import numpy as np
import pytest
import torch
from data_sets import blank_png, noise_image, png
from PIL import Image
from prepared import prepare, trainer_of

from training.data.condition import Condition
from training.data.random_masks import DEFAULT_SHARES
from training.data.records import DatasetError
from training.evaluation.sheets import edge_panel, sheet
from training.loop.parts import prompted_of


def shown_shares(settings):
    return settings.masks().shown().shares


@pytest.mark.parametrize("part", ["validation_image", "validation_mask"])
@pytest.mark.parametrize("damage", ["a broken chunk", "too many pixels"])
def test_a_picture_that_cannot_be_decoded_is_a_sentence(make_settings, tmp_path, part, damage):
    content = bytearray(png(noise_image(size=(256, 256))))
    second = content.index(b"IDAT", content.index(b"IDAT") + 1)  # it is found while decoding
    content[second : second + 4] = b"I\0AT"
    path = tmp_path / "x.png"
    path.write_bytes(content if damage == "a broken chunk" else blank_png(20_000, 20_000))
    noise_image(size=(256, 256)).save(tmp_path / "whole.png")
    files = {"validation_image": (str(tmp_path / "whole.png"),), part: (str(path),)}
    settings = make_settings(validation_prompt=("a",), **files)
    told = "damaged" if damage == "a broken chunk" else "more than 89 megapixels; scale it down"
    with pytest.raises(DatasetError, match=f"--validation_image .* cannot be read: .*{told}"):
        prompted_of(settings)


def test_masks_are_of_the_kinds_that_the_run_draws(make_settings):
    assert shown_shares(make_settings(mask_source="full")) == {"full": 1.0}
    assert shown_shares(make_settings(mask_source="dataset")).keys() == {"full", "exact"}
    shares = {"box": 1.0, "empty": 3.0, "brush": 0.0}
    assert shown_shares(make_settings(mask_shares=shares)) == {"box": 1.0}
    assert shown_shares(make_settings(mask_shares={"empty": 1.0})) == {"full": 1.0}
    assert shown_shares(make_settings()).keys() <= DEFAULT_SHARES.keys() - {"empty"}


def test_random_masks_do_not_look_at_the_data_sets(make_settings, monkeypatch):
    asked = []
    run = trainer_of(make_settings(mask_source="random"))

    def draw(size, rng, objects, shares):
        asked.append(objects)
        return torch.ones(size).numpy()

    monkeypatch.setattr("training.data.random_masks.random_mask", draw)
    assert run.validation.examples
    assert asked == [None]


def test_a_full_mask_has_no_leak_to_measure(make_settings):
    run = trainer_of(make_settings(mask_source="full", num_validation_images=2))
    found = run.validation.pictures(run.control)[1]
    assert found.keys() == {"adherence"}
    assert not math.isnan(found["adherence"])


def test_prompts_are_sampled_with_their_pictures_and_masks(make_settings, picture_folder):
    prompts = {
        "validation_prompt": ("a thing that no caption names, and more",),
        "validation_image": (str(picture_folder / "0.png"), str(picture_folder / "1.png")),
        "validation_mask": (str(picture_folder / "0.mask.png"), str(picture_folder / "1.mask.png")),
    }
    run = trainer_of(make_settings(**prompts, invert_masks=True))
    sheet = torch.from_numpy(run.validation.prompted_pictures(run.control))
    assert sheet.shape == (20 + 2 * 64, 4 * 64, 3)
    mask = torch.from_numpy(np.asarray(Image.open(picture_folder / "0.mask.png")).copy()) > 127
    true = torch.from_numpy(np.asarray(Image.open(picture_folder / "0.png")).copy()).int()
    seen = sheet[20 : 20 + 64, :64].int()
    edges = Condition()(true.movedim(-1, 0)[None].float() / 255)[0, 0] > 0.5
    inside, outside = mask & ~edges, ~mask & ~edges
    assert (seen - true)[inside].abs().max() <= 1
    assert (seen[outside] <= true[outside]).all()
    free = sheet[20:, 64:128]
    assert torch.equal(torch.from_numpy(run.validation.prompted_pictures(run.control)), sheet)
    assert not torch.equal(free[:64], free[64:])  # of one prompt, and each of its own noise


def test_conditions_of_a_column_are_named_by_validation_image(make_settings, picture_folder):
    image = str(picture_folder / "2.png")
    settings = make_settings(validation_prompt=("x",), validation_image=(image,))
    (made,) = prompted_of(settings)
    assert made.condition.shape == (1, 64, 64)
    assert made.mask.min() == 1
    given = settings.model_copy(update={"conditioning_image_column": "mask"})
    (own,) = prompted_of(given)
    assert torch.equal(own.condition, own.image)
    lines = np.zeros((100, 100), np.uint8)
    lines[:, ::7] = 255
    Image.fromarray(lines).save(picture_folder / "lines.png")
    larger = given.model_copy(update={"validation_image": (str(picture_folder / "lines.png"),)})
    (scaled,) = prompted_of(larger)
    assert scaled.condition.unique().tolist() == [0.0, 1.0]  # as conditions are in training


@pytest.mark.parametrize("name", ["missing.png", "metadata.jsonl"])
def test_a_validation_image_that_cannot_be_read_is_named_before_the_data_is_prepared(
    make_settings, picture_folder, monkeypatch, name
):
    monkeypatch.setattr("training.loop.prepare.check", None)
    settings = make_settings(
        validation_prompt=("x",), validation_image=(str(picture_folder / name),)
    )
    with pytest.raises(DatasetError, match=f"--validation_image .*{name} cannot be read"):
        prepare(settings)


def test_headings_are_over_their_columns_and_fit():
    rows = [[torch.zeros(3, 8, width) for width in (64, 40)]]
    found = sheet(rows, ["left", "a heading of many words that does not fit"])
    assert found.shape == (20 + 8, 104, 3)
    assert found[:20].max() == 255
    assert found[20:].max() == 0
    for band in (found[:20, :64], found[:20, 64:]):
        assert band.min() < 128  # letters
        assert (band[:, 0] == 255).all()


@pytest.mark.parametrize("kind", ["canny", "sobel"])
def test_edges_are_shown_with_the_thresholds_of_the_run(kind):
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    blurred = Condition(kind, 50, 150, 2.0)
    mask = torch.ones(1, 64, 64)
    panel = edge_panel(image, mask, blurred)
    assert torch.equal(panel[1], Condition("canny", 50, 150, 2.0)(image[None])[0, 0])
    assert not torch.equal(panel, edge_panel(image, mask, Condition()))
