"""The experiment's plan: what is trained once, what is kept, and what is made again."""

import os
import signal
import threading
import time

import pytest
import torch
from slow_run import SlowRun

from lab.study import experiment
from lab.study.experiment import ExperimentSettings, Results, Study, runs, studies, wanted
from lab.study.methods import CANNY_SEARCH, COLOUR_SEARCH, GATED, MAIN, SOBEL
from training.evaluation.table import Table


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setattr("lab.make.train_adapters.export_base", lambda settings: settings.output_dir)
    checkpoint = tmp_path / "base.safetensors"
    checkpoint.write_bytes(b"a base")
    return ExperimentSettings(
        checkpoint=checkpoint, results_dir=tmp_path / "results", output_dir=tmp_path
    )


@pytest.fixture
def study():
    return Study("Title", "canny", MAIN, "test", 2, 200, (SOBEL, GATED))


def table_of(run, settings):
    table = Table(["0", "1"], blank=torch.zeros(2))
    for index, label in enumerate(["no control", *(method.label for method in run.methods)]):
        table.add(label, {"leak": torch.tensor([index / 3, 1.0])})
        table.add_set(label, "distance", 0.5)
    stamp = run.stamp(settings)
    table.stamps = {method.label: stamp for method in run.methods}
    return table


def test_plain_features_are_trained_once_and_applied_in_two_ways(study):
    first = next(runs(study))
    assert [method.outside for method in first.methods] == ["everywhere", "gated"]
    assert len(list(runs(study))) == 2 * (len(MAIN) - 1)


def test_every_method_of_a_study_has_a_name_and_a_folder_of_its_own(settings):
    for study in studies(settings):
        labels = [method.label for method in study.methods]
        assert len(set(labels)) == len(labels)
    planned = [run for study in studies(settings) for run in runs(study)]
    folders = [run.train_settings(settings).output_dir for run in planned]
    assert len(set(folders)) == len(folders)


def test_only_seed_and_method_differ_between_the_trainings_of_a_study(settings, study):
    first, *others = (run.train_settings(settings).resolved() for run in runs(study))
    changed = {key for method in MAIN for key in method.changes} | {"seed", "output_dir"}
    for other in others:
        assert {key for key in first if first[key] != other[key]} <= changed


def test_scores_are_kept_until_what_they_depend_on_changes(settings, study):
    results = Results(settings)
    for run in runs(study):
        assert not results.has(run)
        results.add(run, table_of(run, settings))
    assert all(results.has(run) for run in runs(study))
    run = next(runs(study))
    assert not results.has(experiment.Run(study, 5, run.methods))
    longer = settings.model_copy(update={"num_inference_steps": 50})
    assert not Results(longer).has(run)
    folder = run.train_settings(settings).output_dir
    settings.checkpoint.write_bytes(b"another base")
    assert run.train_settings(settings).output_dir != folder
    assert not any(results.has(run) for run in runs(study))


def test_the_report_has_every_method_and_the_spread_over_seeds(settings, study):
    results = Results(settings)
    for run in runs(study):
        results.add(run, table_of(run, settings))
    text = results.section(study)
    assert all(f"| {method.label} |" in text for method in MAIN)
    assert "4 cases of 2 pictures" in text
    assert "Spread over seeds" in text
    assert all(f"Paired differences to {label}:" in text for label in (SOBEL, GATED))


def test_the_report_of_an_unfinished_study_says_so_and_shows_whole_seeds_only(settings, study):
    results = Results(settings)
    assert "Not run yet" in results.section(study)
    planned = list(runs(study))
    for run in planned[: len(planned) // 2 + 1]:
        results.add(run, table_of(run, settings))
    text = results.section(study)
    assert f"Not finished: 1 of 2 seeds, {len(MAIN)} of {len(MAIN)} methods." in text
    assert "2 cases of 2 pictures" in text
    for run in planned:
        results.add(run, table_of(run, settings))
    assert "Not finished" not in results.section(study)


def test_the_report_leaves_out_scores_that_no_longer_hold(settings, study):
    results = Results(settings)
    for run in runs(study):
        results.add(run, table_of(run, settings))
    settings.checkpoint.write_bytes(b"another base")
    assert "Not run yet" in results.section(study)


def test_what_people_wrote_above_the_tables_stays(tmp_path):
    path = tmp_path / "RESULTS.md"
    experiment.write_report(path, "first")
    path.write_text(path.read_text().replace("# Results", "# Results\n\nRead with care."))
    experiment.write_report(path, "second")
    text = path.read_text()
    assert "Read with care." in text
    assert "second" in text
    assert "first" not in text


def test_the_searches_are_of_one_seed_on_validation_objects(settings):
    searches = list(wanted(settings.model_copy(update={"splits": ("validation",)})))
    assert all((search.split, search.seeds) == ("validation", 1) for search in searches)
    assert [list(search.methods) for search in searches] == [CANNY_SEARCH, COLOUR_SEARCH]


def stop_when_both_run(folder):
    while len(list(folder.glob("*.begun"))) < 2:
        time.sleep(0.1)
    time.sleep(0.5)  # until both look at signals
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_stop_has_running_trainings_save_and_starts_no_other(tmp_path, settings):
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        threading.Thread(target=stop_when_both_run, args=[tmp_path], daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            experiment.perform(settings, [SlowRun(tmp_path, n) for n in "abc"], Results(settings))
    finally:
        signal.signal(signal.SIGTERM, before)
    files = sorted(path.name for path in tmp_path.glob("?.*"))
    assert files == ["a.begun", "a.saved", "b.begun", "b.saved"]
