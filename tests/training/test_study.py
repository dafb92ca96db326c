"""A study through the graph: what it is made of, and when its scores still hold."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from demo.base import ADAPTERS
from lab.study import study
from lab.study.measure import arms, pairs
from lab.study.study import Arm, StudySettings, parts, run, study_digest
from training.evaluation.table import Table

ARMS = (Arm("no control"), Arm("local", "local"))


@pytest.fixture
def settings(tmp_path):
    for name in ("base", *(ADAPTERS[kind].stem for kind in ("plain", "local"))):
        (tmp_path / f"{name}.safetensors").write_bytes(b"weights")
    return StudySettings(
        checkpoint=tmp_path / "base.safetensors",
        adapters=tmp_path,
        parts_dir=tmp_path / "parts",
        seeds=2,
    )


@pytest.fixture
def sampled(monkeypatch):
    """Parts in the order in which they were sampled, without sampling them."""
    done = []

    def work(settings, arms, some, name, job):
        for part in some:
            done.append(part)
            table = Table([str(index) for index in part.objects])
            for arm in arms:
                scores = torch.tensor([float(index) for index in part.objects])
                table.add(arm.label, {"leak": scores + part.seed})
            table.write(part.file(settings.parts_dir, name))

    monkeypatch.setattr(study, "ProcessPoolExecutor", lambda jobs, _: ThreadPoolExecutor(jobs))
    monkeypatch.setattr(study, "_work", work)
    return done


def test_every_object_is_sampled_once_with_every_seed(settings, sampled):
    first, second = run(settings, ARMS)
    count = len(study.load_items(settings.split))
    assert sorted(sampled, key=parts(settings).index) == parts(settings)
    assert first.groups == second.groups == [str(index) for index in range(count)]
    assert second.scores["local"]["leak"] == [index + 1.0 for index in range(count)]


def test_a_stopped_study_goes_on_with_what_is_missing(settings, sampled):
    tables = run(settings, ARMS)
    lost = parts(settings)[3]
    lost.file(settings.parts_dir, study_digest(settings, ARMS)).unlink()
    sampled.clear()
    assert run(settings, ARMS)[0].scores == tables[0].scores
    assert sampled == [lost]


def test_scores_hold_for_the_same_weights_sampling_and_arms_alone(settings):
    before = study_digest(settings, ARMS)
    assert study_digest(settings.model_copy(update={"seeds": 3}), ARMS) == before
    changed = [
        study_digest(settings.model_copy(update={"cfg": 5.0}), ARMS),
        study_digest(settings.model_copy(update={"split": "validation"}), ARMS),
        study_digest(settings, (ARMS[0], Arm("local", "local", strength=2.0))),
    ]
    (settings.adapters / ADAPTERS["local"].name).write_bytes(b"other weights")
    changed.append(study_digest(settings, ARMS))
    assert len({before, *changed}) == 5


def test_every_way_is_held_against_gated_features_and_both_adapters_in_each_way():
    ways = arms(("plain", "local"), 2.0)
    assert all(arm.label == f"{name}, strength 2" for name, arm in ways.items())
    found = set(pairs(arms(("plain", "local"), 1.0)))
    assert ("local adapter, exact", "local adapter, gated") in found
    assert ("local adapter, exact, positive", "plain adapter, exact, positive") in found
    assert ("plain adapter, everywhere", "plain adapter, gated") in found
    assert all(one != other for one, other in found)
    alone = set(pairs(arms(("colour",), 1.0)))
    assert {other for _, other in alone} == {"colour adapter, gated"}
    assert len(alone) == 3
