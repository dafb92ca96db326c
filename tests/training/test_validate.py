"""What validation shows and measures."""

import math

import pytest
import torch
from prepared import trainer_of

from training.data.condition import Condition
from training.data.random_masks import DEFAULT_SHARES
from training.evaluation.sheets import edge_panel


def shown_shares(settings):
    return settings.masks().shown().shares


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


def test_a_full_mask_has_no_leak_to_measure(make_settings, tmp_path):
    run = trainer_of(make_settings(mask_source="full", num_validation_images=2))
    found = run.validation.pictures(run.control, tmp_path / "sheet.png")
    assert found.keys() == {"adherence"}
    assert not math.isnan(found["adherence"])


@pytest.mark.parametrize("kind", ["canny", "sobel"])
def test_edges_are_shown_with_the_thresholds_of_the_run(kind):
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    blurred = Condition(kind, 50, 150, 2.0)
    mask = torch.ones(1, 64, 64)
    panel = edge_panel(image, mask, blurred)
    assert torch.equal(panel[1], Condition("canny", 50, 150, 2.0)(image[None])[0, 0])
    assert not torch.equal(panel, edge_panel(image, mask, Condition()))
