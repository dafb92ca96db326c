"""Evaluation: its cases, scores, intervals and reports, and the command from end to end."""

import json
import sys
import weakref
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from data_sets import shard
from PIL import Image
from safetensors.torch import save_file
from small_base import CHANNELS, pictures
from torchvision.models import inception_v3
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

from demo.base import load_tokenizer
from local_control.adapter import Adapter, AdapterConfig
from local_control.checkpoint import AdapterFile, AdapterFileError, write_adapter
from local_control.metrics import lfmse
from training import evaluate
from training.data.checked import check
from training.data.condition import Condition, parse_condition
from training.data.folder import ImageFolder
from training.data.records import Columns, DatasetError
from training.evaluate import load_variant
from training.evaluation.cases import Cases, draw_mask, read_evaluation_set, spread_out
from training.evaluation.evaluator import CEILING, CONDITION, FLOOR, SEEN, Evaluator
from training.evaluation.intervals import interval, paired
from training.evaluation.progress import Progress
from training.evaluation.report import markdown, spread
from training.evaluation.scores import (
    FEWEST,
    ClipScore,
    InceptionFeatures,
    blank_lfmse,
    frechet_distance,
    kernel_distance,
    score,
)
from training.evaluation.table import Table
from training.evaluation.texts import Texts
from training.evaluation.variants import Variant
from training.loop.prepare import open_base
from training.models.sample import Sampling


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = pictures(tmp_path_factory.mktemp("evaluation"), 3)
    kept = tmp_path_factory.mktemp("kept")
    return check(ImageFolder(folder, Columns(mask="mask")), 32, None, kept)


def test_cases_are_every_picture_mask_and_seed(data):
    chosen = read_evaluation_set()
    cases = Cases(data, 64, chosen)
    assert len(cases) == 3 * len(chosen["masks"]) * len(chosen["seeds"])
    assert {case.mask_name for case in Cases(data, 64, chosen, ["object"])} == {"object"}
    upright, inverted = (Cases(data, 64, chosen, ["object"], flag) for flag in (False, True))
    assert all(torch.equal(a.mask, 1 - b.mask) for a, b in zip(upright, inverted, strict=True))
    with pytest.raises(DatasetError, match="no mask 'blob'"):
        Cases(data, 64, chosen, ["blob"])


@pytest.mark.parametrize(
    ("key", "text"),
    [
        *(
            ("seeds", text)
            for text in ("3", '"a"', "[-1]", "[1.5]", "[true]", "[[1]]", "{ a = 1 }")
        ),
        *(("prompts", text) for text in ("3", '"a photograph"', "[1]", "{ a = 1 }")),
        *(("masks", text) for text in ("3", '"object"', '["object"]', "{ a = 3 }", "{ a = {} }")),
        *(
            ("masks", f"{{ a = {{ box = {box} }} }}")
            for box in ("3", "[0, 0, 1]", '["a", 0, 1, 1]')
        ),
        *(("masks", f"{{ a = {{ box = {box} }} }}") for box in ("[0, 0, 0, 1]", "[0, 0, 1, nan]")),
        ("masks", "{ a = { ellipse = [0.5, 0.5, 0, 1] } }"),
        ("masks", "{ a = { blob = [0, 0, 1, 1] } }"),
        ("masks", "{ a = { box = [0, 0, 1, 1], blob = 1 } }"),
    ],
)
def test_a_set_of_another_form_is_a_sentence(tmp_path, key, text):
    parts = {"seeds": "[0]", "prompts": '["a"]', "masks": '{ a = "object" }'} | {key: text}
    path = tmp_path / "set.toml"
    path.write_text("\n".join(f"{name} = {value}" for name, value in parts.items()))
    with pytest.raises(DatasetError, match=rf"set\.toml has .* for {key}; write "):
        read_evaluation_set(path)


@pytest.mark.parametrize("text", ["seeds = ", "seeds = " + "[" * 10**5, "seeds = []"])
def test_a_set_that_is_no_toml_or_empty_is_a_sentence(tmp_path, text):
    (tmp_path / "set.toml").write_text(text)
    with pytest.raises(DatasetError, match=r"set\.toml (is no TOML|names no seeds)"):
        read_evaluation_set(tmp_path / "set.toml")


def test_masks_of_the_set_are_where_they_say():
    left = draw_mask({"box": [0.0, 0.0, 0.5, 1.0]}, (64, 32), np.zeros((0, 64, 32)))
    assert left[0, :, :16].min() == 1
    assert left[0, :, 16:].max() == 0
    ellipse = draw_mask({"ellipse": [0.5, 0.5, 0.25, 0.5]}, (64, 32), np.zeros((0, 64, 32)))
    assert ellipse[0, 32, 16] == 1
    assert ellipse.mean().item() == pytest.approx(np.pi * 0.25 * 0.5, abs=0.05)
    assert draw_mask("object", (64, 32), np.zeros((0, 64, 32))) is None
    outside_the_crop = np.zeros((1, 64, 32), np.float32)
    assert draw_mask("object", (64, 32), outside_the_crop) is None


def test_the_true_picture_scores_best_and_a_blank_one_as_the_baseline(data):
    cases = Cases(data, 64, read_evaluation_set(), ["centre"])[::3]
    sources = torch.stack([case.image for case in cases])
    masks = torch.stack([case.mask for case in cases])
    blank = torch.zeros_like(sources)
    best, worst = (score(x, blank, sources, masks, Condition()) for x in (sources, blank))
    for name in ("edge F1 inside", "DiffCC coincidence", "SSIM inside"):
        torch.testing.assert_close(best[name], torch.ones(3))
    assert (best["LFMSE inside"] == 0).all()
    assert torch.equal(worst["LFMSE inside"], blank_lfmse(sources, masks, Condition()))
    assert worst["leak"].isnan().all()


def test_distances_tell_distributions_apart():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(300, 6, generator=generator) for _ in range(2))
    assert abs(kernel_distance(a, b)) < 0.1
    assert kernel_distance(a + 1, b) > 0.5
    assert frechet_distance(a, b) < 0.3
    assert frechet_distance(a + 1, b) == pytest.approx(6, abs=0.8)


def test_pictures_that_resemble_the_ones_they_were_made_for_are_not_nearer_for_it():
    generator = torch.Generator().manual_seed(0)
    true = torch.randn(40, 6, generator=generator)
    made_for = torch.arange(40).repeat_interleave(3)
    alike = true[made_for] + 0.1 * torch.randn(120, 6, generator=generator)
    assert kernel_distance(alike, true) < -0.2
    assert abs(kernel_distance(alike, true, made_for)) < 0.05


def test_a_true_picture_counts_once_however_many_cases_it_has(make_settings, data):
    base = open_base(make_settings())
    base.place(torch.device("cpu"), None)
    chosen = read_evaluation_set()
    cases = Cases(data, 64, chosen, ["left", "centre"])
    evaluation = Evaluator(base, Sampling(1), batch_size=4)
    sources = evaluation._source_features(cases)
    assert len(sources) == 3
    images = torch.stack([cases[index].image for index in (0, 6, 12)])
    torch.testing.assert_close(sources, evaluation._features(images))
    assert np.isnan(kernel_distance(sources[:1], sources))


@pytest.mark.parametrize("reference", [False, True])
def test_the_original_work_s_metrics_can_be_had(make_settings, data, monkeypatch, reference):
    seen = []

    def measure(images, free, sources, masks, canny, reference=False):
        found = score(images, free, sources, masks, canny, reference)
        edges, wanted = canny(images), canny(sources)
        seen.append((found, lfmse(edges, wanted, masks, reference), reference))
        return found

    monkeypatch.setattr("training.evaluation.evaluator.score", measure)
    base = open_base(make_settings())
    base.place(torch.device("cpu"), None)
    cases = Cases(data, 64, read_evaluation_set(), ["left"])
    Evaluator(base, Sampling(1), reference=reference).run(cases, [Variant("same")])
    for found, wanted, given in seen:
        assert given is reference
        assert torch.equal(found["LFMSE inside"], wanted["inside"])


def test_the_sheet_shows_as_many_pictures_and_masks_as_it_can(data):
    cases = Cases(data, 64, read_evaluation_set())
    shown = [cases[index] for index in spread_out(cases.pictures, 6)]
    assert sorted(Counter(case.picture for case in shown).values()) == [2, 2, 2]
    assert len({(case.mask_name, case.seed) for case in shown}) > 3
    assert spread_out(cases.pictures, 1000) == list(range(len(cases)))


def test_a_report_without_a_number_is_json_and_is_read_again(tmp_path):
    table = Table(["a", "b"], blank=torch.tensor([0.25, torch.nan]))
    table.add("one", {"leak": torch.tensor([torch.nan, 1 / 3])})
    table.add_set("one", "distance", float("nan"))
    table.stamps = {"one": {"steps": 3, "started from": None}}
    table.about = {"base": "base"}
    table.write(tmp_path / "report.json")
    text = (tmp_path / "report.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    found = Table.read(tmp_path / "report.json")
    np.testing.assert_equal(found.scores, {"one": {"leak": [np.nan, 0.333333]}})
    np.testing.assert_equal(found.sets, {"one": {"distance": np.nan}})
    np.testing.assert_equal(found.blank.tolist(), [0.25, np.nan])
    assert (found.stamps, found.about) == (table.stamps, table.about)


def test_reports_from_before_are_still_read(tmp_path):
    old = {"groups": ["a"], "scores": {"one": {"leak": [float("nan")]}}, "sets": {"one": {}}}
    (tmp_path / "old.json").write_text(json.dumps(old | {"blank": [0.5], "stamps": {"one": "x"}}))
    table = Table.read(tmp_path / "old.json")
    assert np.isnan(table.scores["one"]["leak"][0])
    assert table.stamps == {"one": "x"}


def test_distances_of_too_few_pictures_are_none():
    generator = torch.Generator().manual_seed(0)
    some = torch.randn(FEWEST, 6, generator=generator)
    for distance in (kernel_distance, frechet_distance):
        assert np.isfinite(distance(some + 1, some))
        assert np.isnan(distance(some + 1, some[1:]))
    table = Table(["a"])
    table.add("one", {"x": torch.tensor([1.0])})
    table.add_set("one", "kernel distance, latents", kernel_distance(some, some[:2]))
    assert "| one | 1.000 [1.000, 1.000] | too few pictures |" in markdown(table)


def test_a_distance_is_the_same_however_many_rows_are_in_memory(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(50, 6, generator=generator) for _ in range(2))
    made_for = torch.arange(50) // 2
    whole = kernel_distance(a, b, made_for)
    monkeypatch.setattr("training.evaluation.scores._ROWS", 7)
    assert kernel_distance(a, b, made_for) == pytest.approx(whole, rel=1e-6)


class KillError(Exception):
    """Stands for a kill."""


def test_an_evaluation_that_was_stopped_goes_on_and_ends_the_same(
    make_settings, data, adapter_file, tmp_path, monkeypatch
):
    base = open_base(make_settings())
    base.place(torch.device("cpu"), None)
    cases = Cases(data, 64, read_evaluation_set(), ["left", "object"])
    variants = [load_variant(f"mine={adapter_file}")]
    whole = Evaluator(base, Sampling(1), batch_size=4).run(cases, variants)
    progress = Progress(tmp_path / "progress")
    judged = []

    def run(stop_after):
        evaluation = Evaluator(base, Sampling(1), batch_size=4)
        make = Evaluator._batch

        def counting(self, part, *rest):
            if len(judged) == stop_after:
                raise KillError
            judged.append(part)
            return make(self, part, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(Evaluator, "_batch", counting)
            return evaluation.run(cases, variants, progress=progress)

    with pytest.raises(KillError):
        run(stop_after=2)
    first = sorted(progress.folder.iterdir())[0]
    first.write_bytes(first.read_bytes()[:100])  # as a disk may leave it
    table = run(stop_after=None)
    assert len(judged) == 2 + 4  # five batches, the first of them twice
    assert repr((table.scores, table.bounds)) == repr((whole.scores, whole.bounds))
    assert torch.equal(table.blank, whole.blank)
    for name, shown in whole.pictures.items():
        assert all(torch.equal(*pair) for pair in zip(shown, table.pictures[name], strict=True))
    progress.finish()
    assert not progress.folder.exists()


def test_only_the_same_evaluation_goes_on(base_folder, data, adapter_file, tmp_path, monkeypatch):
    names = []
    monkeypatch.setattr(
        Evaluator,
        "run",
        lambda self, cases, variants, progress: names.append(progress.folder.name) or Table([]),
    )

    def settings(**changes):
        usual = {
            "pretrained_model_name_or_path": str(base_folder),
            "eval_data_dir": data.source._folder,
            "adapters": [f"a={adapter_file}"],
            "output_dir": tmp_path,
        }
        return evaluate.EvaluateSettings(**usual | changes)

    for chosen in (settings(), settings(), settings(guidance_scale=2.0), settings(masks=["left"])):
        evaluate.evaluate(chosen, evaluate.load_variants(chosen.adapters))
    other = settings(adapters=[f"a={adapter_file}@exact"])
    evaluate.evaluate(other, evaluate.load_variants(other.adapters))
    assert names[0] == names[1]
    assert len(set(names)) == 4


@pytest.mark.parametrize(
    ("flag", "judge"),
    [
        ("clip_model", "ClipScore"),
        ("inception_weights", "InceptionFeatures"),
        ("vgg_weights", "PerceptualChange"),
    ],
)
def test_an_evaluation_does_not_go_on_with_other_weights_of_a_judge(
    base_folder, data, tmp_path, monkeypatch, flag, judge
):
    names = []
    monkeypatch.setattr(
        Evaluator,
        "run",
        lambda self, cases, variants, progress: names.append(progress.folder.name) or Table([]),
    )
    settings = evaluate.EvaluateSettings(
        pretrained_model_name_or_path=str(base_folder),
        eval_data_dir=data.source._folder,
        adapters=[],
        output_dir=tmp_path,
        **{flag: "the same name"},
    )
    for value in (0.0, 0.0, 1.0):
        network = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.constant_(network.weight, value)
        found = SimpleNamespace(network=network)
        monkeypatch.setattr(evaluate, judge, lambda name, found=found: found)
        evaluate.evaluate(settings, [])
    assert names[0] == names[1] != names[2]


def test_each_prompt_is_encoded_once(make_settings, data, monkeypatch):
    base = open_base(make_settings())
    base.place(torch.device("cpu"), None)
    encoded = []
    encode = base.encode_text
    base.encode_text = lambda prompts: encoded.extend(prompts) or encode(prompts)
    cases = Cases(data, 64, read_evaluation_set(), ["left", "centre"])
    Evaluator(base, Sampling(1), batch_size=4).run(cases, [Variant("same")])
    assert sorted(encoded) == ["", "disc 0", "disc 1", "disc 2"]


@pytest.mark.parametrize(("kept", "moves"), [(512, 1), (2, 2)])
def test_text_encoders_are_moved_once_for_many_prompts(
    make_settings, data, monkeypatch, kept, moves
):
    monkeypatch.setattr("training.evaluation.texts._KEPT", kept)
    base = open_base(make_settings())
    base.place(torch.device("cpu"), None)
    moved, lent = [], base.text_encoders_on
    base.text_encoders_on = lambda device: moved.append(device) or lent(device)
    cases = Cases(data, 64, read_evaluation_set(), ["left"])
    assert cases.prompts == [case.prompt for case in cases]
    Evaluator(base, Sampling(1), batch_size=1).run(cases, [Variant("same")])
    assert len(moved) == moves


def test_prompts_that_nobody_announced_are_embedded_all_the_same(make_settings):
    base = open_base(make_settings())
    texts = Texts(base)
    wanted = base.encode_text(["a"])["context"]
    assert torch.equal(texts(["b", "a"])["context"][1:], wanted)
    texts.expect(["c", "a"])
    assert torch.equal(texts(["a", "c"])["context"][:1], wanted)


def test_pictures_are_read_when_they_are_needed_and_let_go(data, monkeypatch):
    monkeypatch.setattr("training.evaluation.cases._SQUARES", 1)
    cases = Cases(data, 64, read_evaluation_set(), ["left"])
    seen = [weakref.ref(cases[index].image) for index in range(len(cases))]
    assert sum(image() is not None for image in seen) == len(seen) // 3  # those of one picture
    assert len(cases.pictures) == len(cases)


def test_predictions_in_bf16_are_nearly_the_same(make_settings, data, adapter_file):
    cases = Cases(data, 64, read_evaluation_set(), ["left"])[:2]
    variants = [load_variant(f"mine={adapter_file}")]
    found = []
    for dtype in (None, torch.bfloat16):
        base = open_base(make_settings())
        base.place(torch.device("cpu"), dtype)
        found.append(Evaluator(base, Sampling(2, 5.0, dtype)).run(cases, variants).scores["mine"])
    one, other = (np.array(scores["SSIM inside"]) for scores in found)
    assert not np.array_equal(one, other)
    assert np.abs(one - other).max() < 0.05


def test_what_training_reads_is_evaluated_too(base_folder, data, adapter_file, tmp_path):
    folder = data.source._folder
    files = {}
    for index in range(2):
        files[f"{index}.png"] = (folder / f"{index}.png").read_bytes()
        files[f"{index}.mask"] = (folder / f"{index}.mask.png").read_bytes()
        files[f"{index}.txt"] = f"disc {index}".encode()
    (tmp_path / "shards").mkdir()
    shard(tmp_path / "shards" / "a.tar", files)
    settings = evaluate.EvaluateSettings(
        pretrained_model_name_or_path=str(base_folder),
        eval_data_dir=tmp_path / "shards",
        mask_column="mask",
        masks=["object"],
        adapters=[f"a={adapter_file}"],
        num_inference_steps=1,
        output_dir=tmp_path / "out",
    )
    table, _ = evaluate.evaluate(settings, evaluate.load_variants(settings.adapters))
    assert len(set(table.groups)) == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "Name one of --eval_data_dir, --dataset_name"),
        ({"eval_data_dir": "x", "dataset_name": "y"}, "Name one of"),
        ({"eval_data_dir": "x", "coco_captions": "y.json"}, "needs --coco_instances"),
    ],
)
def test_a_data_set_is_named_once(flags, message):
    with pytest.raises(ValueError, match=message):
        evaluate.EvaluateSettings(pretrained_model_name_or_path="b", adapters=["a=b"], **flags)


def test_the_spread_is_that_of_a_sample():
    tables = [Table(["a"]), Table(["a"])]
    for table, value in zip(tables, (1.0, 2.0), strict=True):
        table.add("one", {"x": torch.tensor([value])})
    assert f"| one | {np.sqrt(0.5):.3f} |" in spread(tables)


def test_intervals_hold_the_mean_and_pair_what_belongs_together():
    values = np.random.default_rng(0).normal(1, 0.5, 50)
    found = interval(values)
    assert found.low < found.mean < found.high
    assert found == interval(values)
    table = Table(["a", "a", "b", "b"])
    table.add("one", {"x": torch.tensor([1.0, 3.0, 5.0, torch.nan])})
    table.add("two", {"x": torch.tensor([2.0, 4.0, 6.0, 6.0])})
    assert table.per_picture("one", "x").tolist() == [2.0, 5.0]
    difference = paired(table, "two", "one", "x")
    assert (difference.mean, difference.low, difference.high) == (1, 1, 1)
    assert "| two | 1.000 [1.000, 1.000] |" in markdown(table, "one")


def test_masked_out_adapters_change_nothing(make_settings, data, adapter_file):
    base = open_base(make_settings())
    base.place(torch.device("cpu"), None)
    cases = Cases(data, 64, read_evaluation_set(), ["left"])[:2]
    empty = [type(c)(c.picture, c.image, 0 * c.mask, c.mask_name, c.prompt, c.seed) for c in cases]
    variants = [
        load_variant(f"gated={adapter_file}"),
        load_variant(f"all={adapter_file}@everywhere"),
    ]
    table = Evaluator(base, Sampling(2)).run(empty, variants)
    assert table.scores["gated"]["change outside"] == [0, 0]
    assert min(table.scores["all"]["change outside"]) > 0


def test_a_judge_is_asked_about_every_picture(make_settings, data):
    base = open_base(make_settings())
    base.place(torch.device("cpu"), None)
    cases = Cases(data, 64, read_evaluation_set(), ["left"])[:3]

    def judge(images, cases):
        return torch.tensor([float(len(case.prompt)) for case in cases])

    table = Evaluator(base, Sampling(2), batch_size=2, judge=judge).run(cases, [Variant("same")])
    assert table.scores["same"]["prompt following"] == [len(case.prompt) for case in cases]
    assert table.scores["same"]["edge F1 inside"] == table.scores["no control"]["edge F1 inside"]


def test_clip_scores_depend_on_picture_and_prompt(data, tmp_path):
    torch.manual_seed(3)  # whose cosines are above 0
    sides = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    sides["num_attention_heads"] = 2
    vision = sides | {"image_size": 32, "patch_size": 16}
    network = CLIPModel(CLIPConfig(text_config=sides, vision_config=vision, projection_dim=8))
    network.save_pretrained(tmp_path)
    square = {"height": 32, "width": 32}
    images = CLIPImageProcessor(size=square, crop_size=square)
    CLIPProcessor(images, load_tokenizer()).save_pretrained(tmp_path)
    cases = Cases(data, 64, read_evaluation_set(), ["left"])[::3]
    sources = torch.stack([case.image for case in cases])
    clip = ClipScore(str(tmp_path))
    found = clip(sources, cases)
    assert found.shape == (len(cases),)
    assert (found >= 0).all()
    assert (found <= 100).all()
    assert not torch.equal(found, clip(1 - sources, cases))
    assert not torch.equal(found, clip(sources, cases[::-1]))


def test_weights_of_inception_that_are_none_are_a_sentence(tmp_path):
    path = tmp_path / "other.safetensors"
    for found in (None, b"no weights"):
        if found is not None:
            path.write_bytes(found)
        with pytest.raises(DatasetError, match=r"other\.safetensors cannot be read"):
            InceptionFeatures(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(DatasetError, match="no Inception v3 under torchvision's keys") as raised:
        InceptionFeatures(path)
    assert len(str(raised.value)) < 200


def test_a_clip_model_that_is_none_is_a_sentence(tmp_path):
    with pytest.raises(DatasetError, match="/not/there cannot be loaded"):
        ClipScore("/not/there")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(DatasetError, match=r"cannot be loaded .*; name a folder or a hub model"):
        ClipScore(str(tmp_path))


def test_a_frechet_distance_is_taken_on_inception_features(
    make_settings, data, tmp_path, monkeypatch
):
    network = inception_v3(weights=None, init_weights=False)
    save_file(network.state_dict(), tmp_path / "inception.safetensors")
    inception = InceptionFeatures(tmp_path / "inception.safetensors")
    cases = Cases(data, 64, read_evaluation_set(), ["left"])[::3]
    features = inception(torch.stack([case.image for case in cases]))
    assert features.shape == (3, 2048)
    base = open_base(make_settings())
    base.place(torch.device("cpu"), None)

    def few(images):
        return inception(images)[:, :4]  # a root of 4 x 4 takes no time

    evaluation = Evaluator(base, Sampling(1), inception=few)
    monkeypatch.setattr("training.evaluation.scores.FEWEST", 2)
    for chosen, known in ((cases, True), (cases[:1], False)):
        found = evaluation.run(chosen, []).sets["no control"]["Frechet distance, Inception"]
        assert np.isfinite(found) == known


def test_pictures_without_control_may_be_handed_in(make_settings, data, adapter_file):
    base = open_base(make_settings())
    base.place(torch.device("cpu"), None)
    cases = Cases(data, 64, read_evaluation_set(), ["left"])[:3]
    variants = [load_variant(f"mine={adapter_file}")]
    evaluation = Evaluator(base, Sampling(2), batch_size=2)
    free = evaluation.uncontrolled(cases)
    assert free.shape == (3, 3, 64, 64)
    fresh = evaluation.run(cases, variants)
    again = evaluation.run(cases, variants, free)
    assert repr(again.scores) == repr(fresh.scores)
    assert repr(evaluation.run(cases, variants, 1 - free).scores) != repr(fresh.scores)


def test_adapters_have_names_of_their_own(adapter_file):
    with pytest.raises(DatasetError, match="'a' twice"):
        evaluate.load_variants([f"a={adapter_file}"] * 2)


@pytest.mark.parametrize("name", ["no control", SEEN, CONDITION, CEILING, FLOOR])
def test_adapters_have_no_name_that_reports_give_to_something_else(adapter_file, name):
    with pytest.raises(DatasetError, match=f"the name '{name}', which reports give"):
        evaluate.load_variants([f"{name}={adapter_file}"])


@pytest.mark.parametrize(
    ("text", "message"), [("a.safetensors", "NAME=FILE"), ("a=b.safetensors@here", "everywhere")]
)
def test_variants_of_another_form_are_refused(text, message):
    with pytest.raises(DatasetError, match=message):
        load_variant(text)


@pytest.mark.parametrize(
    "text", ["canny 50 150", "canny 150 300 1.5", "colour 4", "sobel", "laplacian"]
)
def test_conditions_are_read_as_they_are_written(text):
    assert str(parse_condition(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        *("canny a b", "canny", "canny 1", "canny 1 2 3 4", "canny nan nan", "canny 200 100"),
        *("canny 1 1e999", "canny -1 2", "canny 1 2 1e9", "colour", "colour 0", "colour 1e9"),
        *("colour 99999999999", "colour 1.5", "sobel 3", "depth", "", "\0"),
    ],
)
def test_text_that_names_no_condition_gives_none(text):
    assert parse_condition(text) is None


def test_what_an_adapter_reads_comes_from_its_file(adapter_file, tmp_path):
    assert load_variant(f"a={adapter_file}").condition == Condition("canny", 50, 150)
    config = AdapterConfig(channels=CHANNELS, in_channels=3)
    silent = tmp_path / "silent.safetensors"
    write_adapter(AdapterFile(config, Adapter(config).state_dict()), silent)
    with pytest.raises(AdapterFileError, match="does not tell"):
        load_variant(f"a={silent}")


def test_adapters_may_read_the_conditions_of_a_column(make_settings, data, tmp_path, monkeypatch):
    base = open_base(make_settings())
    base.place(torch.device("cpu"), None)
    folder = data.source._folder
    paired = tmp_path / "paired"
    paired.mkdir()
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    for row in rows:
        image = Image.open(folder / row["file_name"])
        image.save(paired / row["file_name"])
        image.convert("L").save(paired / f"grey-{row['file_name']}")
    lines = [json.dumps(row | {"grey": f"grey-{row['file_name']}"}) for row in rows]
    (paired / "metadata.jsonl").write_text("\n".join(lines))
    read = check(ImageFolder(paired, Columns(condition="grey")), 32, None, tmp_path / "kept")
    cases = Cases(read, 64, read_evaluation_set(), ["left"])[:2]
    given, forward = [], Adapter.forward
    monkeypatch.setattr(Adapter, "forward", lambda self, c: given.append(c) or forward(self, c))
    for channels in (3, 1):
        config = AdapterConfig(channels=CHANNELS, in_channels=channels)
        path = tmp_path / f"{channels}.safetensors"
        metadata = {"local_control.condition": "pictures"}
        write_adapter(AdapterFile(config, Adapter(config).state_dict(), metadata), path)
        with pytest.raises(AdapterFileError, match="--conditioning_image_column"):
            load_variant(f"a={path}")
        variant = load_variant(f"a={path}", column=True)
        Evaluator(base, Sampling(1)).run(cases, [variant])
    coloured, grey = given
    assert coloured.shape == (2, 3, 64, 64)
    assert torch.equal(coloured.mean(1, keepdim=True), grey)
    assert torch.allclose(coloured[:, 0], coloured[:, 1])


def test_names_of_files_may_hold_an_at_and_begin_like_a_state(adapter_file):
    for name in ("v2@home.safetensors", "state-of-the-art.safetensors"):
        path = adapter_file.with_name(name)
        path.write_bytes(adapter_file.read_bytes())
        assert load_variant(f"a={path}").outside == "gated"
        assert load_variant(f"a={path}@everywhere").outside == "everywhere"


def test_what_is_assumed_of_a_file_that_does_not_tell_is_said(tmp_path, caplog):
    config = AdapterConfig(channels=CHANNELS)
    silent = tmp_path / "silent.safetensors"
    write_adapter(AdapterFile(config, Adapter(config).state_dict()), silent)
    assert load_variant(f"a={silent}").condition == Condition("canny", 100, 200)
    assert "silent.safetensors" in caplog.text
    assert "canny 100 200 is assumed" in caplog.text


def test_the_command_writes_its_reports(
    base_folder, data, adapter_file, tmp_path, monkeypatch, capsys
):
    folder = data.source._folder
    arguments = f"""evaluate --pretrained_model_name_or_path {base_folder} --eval_data_dir {folder}
        --mask_column mask --adapters one={adapter_file},two={adapter_file}@everywhere
        --masks object --num_inference_steps 1 --output_dir {tmp_path / "out"}"""
    monkeypatch.setattr(sys, "argv", arguments.split())
    evaluate.main()
    text = (tmp_path / "out" / "report.md").read_text()
    assert "Paired differences to one" in text
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert len(content["scores"]["two"]["leak"]) == 9
    assert content["about"]["settings"]["num_inference_steps"] == 1
    assert content["about"]["settings"]["resolution"] == 64
    assert content["about"]["adapters"]["two"] == {
        "condition": "canny 50 150",
        "gated": False,
        "blended": False,
        "acts_on": "both",
        "strength": 1.0,
    }
    assert Image.open(tmp_path / "out" / "sheet.png").size == (5 * 64, 20 + 9 * 64)
    assert "too few pictures" in text
    assert not list((tmp_path / "out").glob("progress-*"))


def test_an_adapter_of_another_base_is_a_sentence(base_folder, data, tmp_path, monkeypatch):
    config = AdapterConfig(channels=(16, 32, 64, 64))
    path = tmp_path / "narrow.safetensors"
    write_adapter(AdapterFile(config, Adapter(config).state_dict()), path)
    arguments = f"""evaluate --pretrained_model_name_or_path {base_folder} --resolution 64
        --eval_data_dir {data.source._folder} --adapters one={path}"""
    monkeypatch.setattr(sys, "argv", arguments.split())
    with pytest.raises(SystemExit, match=r"one is a full adapter .* this base needs full"):
        evaluate.main()
