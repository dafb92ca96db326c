"""Frontiers: numbers read off along them, what is chosen, and the command from end to end."""

import json
import sys

import numpy as np
import pytest
import torch
from small_base import pictures

from local_control.metrics import masked_ssim
from training import evaluate
from training.data.checked import check
from training.data.folder import ImageFolder
from training.data.records import Columns, DatasetError
from training.evaluate import _check_best, load_variant
from training.evaluation.cases import Cases, read_evaluation_set
from training.evaluation.evaluator import CEILING, FLOOR, Evaluator
from training.evaluation.frontier import Curve, Frontier
from training.evaluation.frontier_report import as_json, as_markdown, read_best
from training.evaluation.paths import cost_reaching, gain_within, means, read_off, resamples
from training.evaluation.sampler import Sampler
from training.evaluation.scores import DIRECT
from training.evaluation.table import Table
from training.evaluation.variants import Variant
from training.loop.prepare import open_base
from training.models.bases import Base
from training.models.sample import Sampling

ADHERENCE, LEAK = "edge F1 inside", "leak"


def path(*points):
    """One path of (gain, cost) points."""
    gain, cost = np.array(points).T
    return gain[None], cost[None]


def at(value):
    return np.array([value])


def test_gain_is_read_off_between_the_points():
    straight = path((0.2, 0.1), (0.6, 0.3))
    assert gain_within(*straight, at(0.2)).item() == pytest.approx(0.4)
    assert gain_within(*straight, at(0.3)).item() == pytest.approx(0.6)
    assert gain_within(*straight, at(0.9)).item() == pytest.approx(0.6)
    assert np.isnan(gain_within(*straight, at(0.05)).item())


def test_gain_is_the_most_that_the_cost_allows_however_the_path_turns():
    turning = path((0.2, 0.1), (0.6, 0.3), (0.5, 0.25), (0.1, 0.5))
    assert gain_within(*turning, at(0.27)).item() == pytest.approx(0.54)
    assert gain_within(*turning, at(0.6)).item() == pytest.approx(0.6)


def test_cost_is_the_least_that_reaches_the_gain():
    turning = path((0.2, 0.1), (0.6, 0.3), (0.5, 0.05))
    assert cost_reaching(*turning, at(0.4)).item() == pytest.approx(0.05)
    assert cost_reaching(*turning, at(0.6)).item() == pytest.approx(0.3)
    assert np.isnan(cost_reaching(*turning, at(0.7)).item())


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("point", [(0.3, np.nan), (np.nan, 0.2), (np.nan, np.nan)])
def test_a_point_that_is_not_known_changes_no_reading(place, point):
    points = [(0.2, 0.1), (0.6, 0.3), (0.5, 0.05)]
    whole, holed = path(*points), path(*points[:place], point, *points[place:])
    for value in (0.01, 0.07, 0.15, 0.4, 0.6, 0.7):
        for read in (gain_within, cost_reaching):
            np.testing.assert_equal(read(*holed, at(value)), read(*whole, at(value)))


def test_points_that_are_all_unknown_reach_nothing():
    assert np.isnan(gain_within(*path((0.1, np.nan), (np.nan, 0.1)), at(1.0)).item())


def test_means_leave_out_what_is_not_there():
    values = np.array([[1.0, 3.0, np.nan], [np.nan, np.nan, np.nan]])
    found = means(values, np.array([[0, 1, 2], [0, 0, 2]]))
    np.testing.assert_equal(found, [[2, np.nan], [1, np.nan]])


def test_the_first_draw_is_the_set_itself_and_draws_repeat():
    drawn = resamples(5, 10)
    assert drawn[0].tolist() == [0, 1, 2, 3, 4]
    assert drawn.shape == (11, 5)
    assert (drawn == resamples(5, 10)).all()


def test_what_is_not_reached_is_said():
    assert str(read_off(np.array([np.nan, 1.0]))) == "not reached"
    assert (
        str(read_off(np.array([1.0, 1.0, np.nan]))) == "1.000 [1.000, 1.000] (in 50% of resamples)"
    )
    assert str(read_off(np.array([1.0, 1.0]))) == "1.000 [1.000, 1.000]"


@pytest.fixture
def frontier():
    """Two curves over twenty pictures: the second at half the leak, otherwise equal."""
    rng = np.random.default_rng(0)
    table = Table([str(index) for index in range(20)])
    base = rng.uniform(0.1, 0.3, 20)
    curves = []
    for name, factor in (("one", 1.0), ("two", 0.5)):
        variants = {}
        for strength, gain in ((0.5, 0.0), (1.0, 0.1), (2.0, 0.3), (3.0, 0.2)):
            variants[strength] = f"{name} {strength}"
            scores = {ADHERENCE: base + gain, LEAK: factor * strength * base}
            table.add(variants[strength], {k: torch.from_numpy(v) for k, v in scores.items()})
        curves.append(Curve(name, variants))
    return Frontier(table, curves, ADHERENCE)


def test_a_curve_is_compared_at_equal_cost_and_at_equal_adherence(frontier):
    one, two = (frontier.compare(curve, LEAK) for curve in frontier.curves)
    assert one.gain_difference.value.mean == one.price_difference.value.mean == 0
    # At the leak of strength 1 the other is at strength 2, and at its adherence at strength 1.
    assert two.gain_difference.value.mean == pytest.approx(0.2)
    assert two.price.value.mean == pytest.approx(one.price.value.mean / 2)
    assert two.gain_difference.value.low > 0 > two.price_difference.value.high


def test_intervals_are_paired_over_pictures(frontier):
    _, two = (frontier.compare(curve, LEAK) for curve in frontier.curves)
    spread = two.gain_difference.value.high - two.gain_difference.value.low
    assert spread < (two.gain.value.high - two.gain.value.low) / 10


def test_for_colours_less_error_is_more_adherence(frontier):
    colour = "colour error inside"
    for scores in frontier.table.scores.values():
        scores[colour] = [1 - value for value in scores.pop(ADHERENCE)]
    frontier = Frontier(frontier.table, frontier.curves, colour)
    two = frontier.compare(frontier.curves[1], LEAK)
    assert two.gain_difference.value.mean == pytest.approx(-0.2)
    assert frontier.best_strengths() == {"one": 2.0, "two": 2.0}


def test_the_best_strength_is_that_of_the_pictures_it_is_chosen_on(frontier, tmp_path):
    assert frontier.best_strengths() == {"one": 2.0, "two": 2.0}
    (tmp_path / "frontier.json").write_text(json.dumps(as_json(frontier)))
    assert read_best(tmp_path / "frontier.json") == {"one": 2.0, "two": 2.0}
    chosen = Frontier(frontier.table, frontier.curves, ADHERENCE, best={"one": 1.0, "two": 3.0})
    found = chosen.differences(chosen.curves[1], chosen.best)
    assert found[ADHERENCE].mean == pytest.approx(0.1)
    assert "Each at the strength that was best on other pictures" in as_markdown(chosen)


BEST = "best strengths on these pictures"
NO_STRENGTHS = [None, "x", True, 0, -1, float("nan"), float("inf"), [1], {}]


@pytest.mark.parametrize(
    "text",
    [
        *("{}", "[]", "3", "null", "", "{", "[" * 10**5, "\udc80"),
        *(json.dumps({BEST: found}) for found in (3, None, [1.0], "a")),
        *(json.dumps({BEST: {"a": strength}}) for strength in NO_STRENGTHS),
    ],
)
def test_what_is_no_report_of_a_frontier_is_a_sentence(tmp_path, text):
    (tmp_path / "other.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DatasetError, match="names no best strengths"):
        read_best(tmp_path / "other.json")


def test_a_best_strength_that_is_not_sampled_is_refused_before_anything_is():
    strengths, variants = (1.0, 2.0), [Variant("one")]
    _check_best(strengths, variants, {"one": 2.0, "two": 3.0})
    for best, words in (({}, "no best strength of 'one'"), ({"one": 1.5}, "has 1.5 for 'one'")):
        with pytest.raises(DatasetError, match=words):
            _check_best(strengths, variants, best)


def test_a_report_has_every_point_and_both_comparisons(frontier):
    text = as_markdown(frontier)
    assert all(f"| two | {strength:g} |" in text for strength in (0.5, 1.0, 2.0, 3.0))
    assert "At no more leak than one has at strength 1" in text
    same = text.partition("Each at strength 1 (difference to the first)")[2]
    assert f"| two | 1 | {frontier.point(frontier.curves[1], 1.0)[ADHERENCE]} (" in same
    content = as_json(frontier)
    assert content["curves"]["two"]["3"][LEAK][0] == pytest.approx(
        frontier.table.per_picture("two 3.0", LEAK).mean(), rel=1e-5
    )
    assert [found["curve"] for found in content["comparisons"]] == ["one", "two"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = pictures(tmp_path_factory.mktemp("frontier"), 3)
    kept = tmp_path_factory.mktemp("kept")
    return check(ImageFolder(folder, Columns(mask="mask")), 32, None, kept)


def run(make_settings, data, texts, steps=2, strength=1.0, **options):
    base = open_base(make_settings())
    base.place(torch.device("cpu"), None)
    cases = Cases(data, 64, read_evaluation_set(), ["left"])[::3]
    variants = [load_variant(text).at(strength) for text in texts]
    return Evaluator(base, Sampling(steps), **options).run(cases, variants), variants


def test_strength_zero_is_no_control(make_settings, data, adapter_file):
    texts = [f"{outside}={adapter_file}@{outside}" for outside in ("gated", "exact", "everywhere")]
    table, variants = run(make_settings, data, texts, strength=0.0)
    for variant in variants:
        assert table.scores[variant.name]["change outside"] == [0, 0, 0]


def test_blended_predictions_act_on_nothing_outside_in_the_step(make_settings, data, adapter_file):
    texts = [f"{outside}={adapter_file}@{outside}" for outside in ("gated", "exact", "both")]
    table, variants = run(make_settings, data, texts, steps=1)
    gate, exact, both = (np.mean(table.scores[v.name]["change outside"]) for v in variants)
    assert exact < gate
    assert both < gate


@pytest.mark.parametrize("outside", ["gated", "exact"])
@pytest.mark.parametrize(("guidance", "alike"), [(0.0, "no control"), (1.0, "of both")])
def test_control_of_the_positive_prompt_leaves_the_other_prediction(
    make_settings, data, adapter_file, outside, guidance, alike
):
    """At guidance 0 there is only the negative prediction, at 1 only the positive one."""
    base = open_base(make_settings())
    base.place(torch.device("cpu"), None)
    cases = Cases(data, 64, read_evaluation_set(), ["left"])[:2]
    sampled = Sampler(base, Sampling(2, guidance))
    texts = (f"of both={adapter_file}@{outside}", f"positive={adapter_file}@{outside}@positive")
    variants = [Variant("no control"), *(load_variant(text) for text in texts)]
    found = {v.name: sampled(cases, v) for v in variants}
    torch.testing.assert_close(found["positive"], found[alike])
    assert (found["of both"] - found["no control"]).abs().max() > 1e-3


def test_the_direct_leak_is_what_blending_takes_away(make_settings, data, adapter_file):
    texts = [f"{outside}={adapter_file}@{outside}" for outside in ("gated", "exact", "everywhere")]
    table, variants = run(make_settings, data, texts, direct=True)
    gated, exact, everywhere = (np.mean(table.scores[v.name][DIRECT]) for v in variants)
    assert exact < gated < everywhere
    assert np.isnan(table.scores["no control"][DIRECT]).all()
    plain, _ = run(make_settings, data, texts)
    for variant in variants:  # watching changes nothing
        assert plain.scores[variant.name][ADHERENCE] == table.scores[variant.name][ADHERENCE]


def test_bounds_are_of_the_autoencoder_and_of_the_next_picture(make_settings, data, monkeypatch):
    monkeypatch.setattr(Base, "encode_images", lambda self, images: images)
    monkeypatch.setattr(Base, "decode", lambda self, latents: latents.flip(-1))
    monkeypatch.setattr(Sampler, "__call__", lambda self, part, variant: sources(part))
    cases = Cases(data, 64, read_evaluation_set(), ["left"])[::3]
    evaluation = Evaluator(open_base(make_settings()), Sampling(1))
    found = evaluation.run(cases, []).bounds
    images = sources(cases)
    for bound, seen in ((CEILING, images.flip(-1)), (FLOOR, images.roll(-1, 0))):
        masks = torch.stack([case.mask for case in cases])
        assert found[bound]["SSIM inside"] == masked_ssim(seen, images, masks).tolist()
        assert LEAK not in found[bound]
    assert list(evaluation.run(cases[:1], []).bounds) == [CEILING]


def sources(cases):
    return torch.stack([case.image for case in cases])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--strengths 2,3", "--equal_at 1 is none of --strengths"),
        ("--strengths 1,1", "one of them twice"),
        ("--strengths 1,1.0000001", "one of them twice"),
        ("--best_from a.json", "--best_from needs --strengths"),
    ],
)
def test_strengths_that_do_not_fit_are_refused(monkeypatch, capsys, flags, message):
    arguments = (
        f"evaluate --pretrained_model_name_or_path b --eval_data_dir d --adapters a=b {flags}"
    )
    monkeypatch.setattr(sys, "argv", arguments.split())
    with pytest.raises(SystemExit) as stop:
        evaluate.main()
    assert message in str(stop.value) + capsys.readouterr().err


def test_the_command_draws_frontiers(base_folder, data, adapter_file, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    arguments = f"""evaluate --pretrained_model_name_or_path {base_folder}
        --eval_data_dir {data.source._folder} --mask_column mask --masks object
        --adapters gated={adapter_file},exact={adapter_file}@exact --strengths 2,1
        --num_inference_steps 1"""
    first = [*arguments.split(), "--output_dir", str(tmp_path / "first")]
    monkeypatch.setattr(sys, "argv", first)
    evaluate.main()
    content = json.loads((tmp_path / "first" / "frontier.json").read_text())
    assert list(content["curves"]["exact"]) == ["1", "2"]
    assert (tmp_path / "first" / "frontier.png").stat().st_size > 1000
    again = [*arguments.split(), "--output_dir", str(tmp_path / "second")]
    again += ["--best_from", str(tmp_path / "first" / "frontier.json")]
    monkeypatch.setattr(sys, "argv", again)
    evaluate.main()
    assert "best on other pictures" in (tmp_path / "second" / "frontier.md").read_text()
