"""The lab's study of frontiers: what it does in which order, what it keeps, and what it reports."""

import json

import pytest
import torch

from lab.study.demo_cases import subject_scene
from lab.study.frontier import FrontierSettings, frontier, pieces, report, whole_seeds
from lab.study.methods import FRONTIER, FRONTIER_SEARCH
from training.evaluation.table import Table
from training.evaluation.variants import FREE, Variant

ADHERENCE = "edge F1 inside"
WAYS = ("gated", "exact", "exact@positive")


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setattr("lab.make.train_adapters.export_base", lambda settings: settings.output_dir)
    checkpoint = tmp_path / "base.safetensors"
    checkpoint.write_bytes(b"a base")
    return FrontierSettings(
        checkpoint=checkpoint,
        results_dir=tmp_path / "results",
        output_dir=tmp_path,
        docs=tmp_path / "docs",
        seeds=2,
        ways=WAYS[:2],
    )


def keep(piece, settings):
    """Scores as `Piece.perform` keeps them, without training: exact leaks half as much."""
    path = piece.file(settings)
    table = Table(["0", "1"])
    factor = 0.5 if piece.way == "exact" else 1.0
    rows = {FREE: (0.0, 0.0)}
    rows |= {v.name: (v.strength / 10, factor * v.strength) for v in variants(piece, settings)}
    for name, (gain, leak) in rows.items():
        scores = {ADHERENCE: torch.tensor([gain, gain + 0.01 * piece.seed])}
        table.add(name, scores | {"leak": torch.tensor([leak, leak])})
        table.add_set(name, "distance", 0.5)
    stamp = piece.run(settings).stamp(settings) | {"strengths": list(settings.strengths)}
    table.stamps = {piece.curve: stamp}
    if path.exists():
        before = Table.read(path)
        before.merge(table)
        table = before
    table.write(path)


def variants(piece, settings):
    return piece.variants(settings, Variant(piece.curve))


def test_best_strengths_are_chosen_first_and_on_one_seed(settings):
    every = list(pieces(settings))
    count = len(FRONTIER) * len(settings.ways)
    assert [piece.split for piece in every][:count] == ["validation"] * count
    assert all(piece.seed == 0 for piece in every if piece.split == "validation")
    tests = [piece for piece in every if piece.split == "test"]
    assert [piece.seed for piece in tests] == [0] * count + [1] * count
    assert len({(p.curve, p.split, p.seed) for p in every}) == len(every)


def test_ways_to_keep_control_inside_share_a_training(settings):
    gate, exact, positive = list(pieces(settings.model_copy(update={"ways": WAYS})))[:3]
    assert (gate.way, exact.way, positive.way) == WAYS
    trainings = [piece.run(settings) for piece in (gate, exact, positive)]
    assert len({str(run.train_settings(settings)) for run in trainings}) == 1


def test_methods_are_named_by_their_runs(settings):
    chosen = settings.model_copy(update={"methods": ("sobel", "plain-snr-0")})
    assert {piece.method.run for piece in pieces(chosen)} == {"sobel", "plain-snr-0"}
    with pytest.raises(ValueError, match="blob is none of plain-snr, sobel, "):
        FrontierSettings(methods=("blob",))
    labels = [method.label for method in (*FRONTIER, *FRONTIER_SEARCH)]
    assert len(set(labels)) == len(labels)


def test_every_method_searched_is_a_training_of_its_own(settings):
    every = [method.run for method in (*FRONTIER, *FRONTIER_SEARCH)]
    chosen = settings.model_copy(update={"methods": tuple(every)})
    trainings = [piece.run(chosen) for piece in pieces(chosen) if piece.seed == 0]
    found = {str(run.train_settings(chosen).resolved()) for run in trainings}
    assert len(found) == len(every)


def test_methods_and_seeds_have_folders_of_their_own(settings):
    trainings = [piece.run(settings) for piece in pieces(settings)]
    folders = {run.train_settings(settings).output_dir for run in trainings}
    assert len(folders) == len(FRONTIER) * settings.seeds


def test_scores_hold_until_what_they_depend_on_changes(settings):
    piece = next(pieces(settings))
    assert not piece.known(settings)
    keep(piece, settings)
    assert piece.known(settings)
    assert piece.known(settings.model_copy(update={"strengths": (1.0, 2.0)}))
    for changes in ({"strengths": (1.0, 1.5)}, {"num_inference_steps": 20}):
        assert not piece.known(settings.model_copy(update=changes))
    settings.checkpoint.write_bytes(b"another base")
    assert not piece.known(settings)


def test_seeds_that_are_not_whole_are_left_out(settings):
    tests = [piece for piece in pieces(settings) if piece.split == "test"]
    for piece in tests[:-1]:
        keep(piece, settings)
    tables, curves = whole_seeds(settings, tests)
    assert len(tables) == 1
    assert curves == [piece.curve for piece in tests[: len(tests) // 2]]
    keep(tests[-1], settings)
    assert len(whole_seeds(settings, tests)[0]) == 2


def test_all_seeds_of_an_object_count_as_one(settings):
    tests = [piece for piece in pieces(settings) if piece.split == "test"]
    for piece in tests:
        keep(piece, settings)
    tables, curves = whole_seeds(settings, tests)
    found = frontier(settings, tables, curves, {})
    point = found.point(found.curves[0], 1.0)[ADHERENCE]
    assert point.mean == pytest.approx(0.1025)
    assert found.table.per_picture(f"{curves[0]}, strength 1", ADHERENCE).shape == (2,)


def test_the_report_takes_best_strengths_of_the_validation_objects(settings):
    pytest.importorskip("matplotlib")
    assert report(settings) == ""
    for piece in pieces(settings):
        keep(piece, settings)
    text = report(settings)
    assert "## canny, validation objects" in text
    assert "2 of 2 seeds" in text
    assert "Each at the strength that was best on other pictures" in text
    content = json.loads((settings.docs / "canny-test" / "frontier.json").read_text())
    exact = [c for c in content["comparisons"] if c["curve"].endswith("exact")]
    assert exact[0]["price_difference"][0] == pytest.approx(-0.5)


class Scenes:
    """Scenes of two items, whose names tell which scene they are of."""

    items = ("a", "b")

    def scene(self, index, count, subject):
        return index, count, subject


def test_another_number_is_another_scene_of_the_same_object():
    assert subject_scene(Scenes(), 1, 0) == (1, 2, 1)
    assert subject_scene(Scenes(), 1, 2) == (20_001, 2, 1)
