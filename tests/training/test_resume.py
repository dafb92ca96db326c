"""Which run may go on from a checkpoint, and what becomes of the others."""

import json
import logging
import shutil

import pytest
from accelerate.state import AcceleratorState
from prepared import trainer_of
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_base import pictures

from local_control.checkpoint import read_adapter
from training.config.run import TrainSettings
from training.loop.resume import ResumeError, check_resumable
from training.loop.state import list_states, read_notes
from training.train import train

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def settings():
    return TrainSettings(pretrained_model_name_or_path="bases/base", train_data_dir="pictures")


def changed(settings, **changes):
    return TrainSettings(**settings.resolved() | changes)


def test_the_same_settings_do_not_differ(settings):
    assert settings.differences(settings.resolved()) == []


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"learning_rate": 2e-4, "edge": "laplacian"}, ["edge", "learning_rate"]),
        ({"validation_share": 0.1}, ["validation_share"]),
        ({"snr_gamma": 5.0}, ["snr_gamma"]),
        ({"pretrained_model_name_or_path": "other"}, ["pretrained_model_name_or_path"]),
        ({"max_train_steps": 19_999}, ["max_train_steps"]),
        ({"max_train_steps": 30_000}, ["max_train_steps"]),  # the learning rate falls to the end
        ({"train_batch_size": 8}, ["train_batch_size"]),
    ],
)
def test_what_changes_the_weights_is_named(settings, changes, names):
    assert changed(settings, **changes).differences(settings.resolved()) == names


@pytest.mark.parametrize(
    "changes",
    [
        {"output_dir": "other", "cache_dir": "cache", "dataloader_num_workers": 3},
        {"checkpointing_steps": 7, "checkpoints_total_limit": 9, "report_to": "none"},
        {"validation_steps": 7, "validation_timesteps": (5,), "num_validation_images": 0},
        {"num_inference_steps": 7, "guidance_scale": 1.0, "resume_from_checkpoint": "latest"},
        {"gradient_checkpointing": True},
        {"pretrained_model_name_or_path": "moved/base", "train_data_dir": "moved/pictures"},
        {"train_batch_size": 2, "gradient_accumulation_steps": 2},
    ],
)
def test_what_changes_no_weight_is_free(settings, changes):
    assert changed(settings, **changes).differences(settings.resolved()) == []


def test_only_a_run_of_constant_learning_rate_can_grow_and_none_can_shrink(settings):
    for kind in ("constant", "constant_with_warmup"):
        before = changed(settings, lr_scheduler=kind)
        assert changed(before, max_train_steps=30_000).differences(before.resolved()) == []
        shorter = changed(before, max_train_steps=19_999)
        assert shorter.differences(before.resolved()) == ["max_train_steps"]


def test_the_order_of_mask_shares_matters_as_it_does_to_the_draws(settings):
    one, other = ({"box": 1.0, "full": 0.5}, {"full": 0.5, "box": 1.0})
    before = changed(settings, mask_shares=one).resolved()
    assert changed(settings, mask_shares=one).differences(before) == []
    assert changed(settings, mask_shares=other).differences(before) == ["mask_shares"]


def test_processes_may_take_the_place_of_batch_and_accumulation(settings):
    smaller = changed(settings, train_batch_size=2)
    assert smaller.differences(settings.resolved(), 2, 1) == []
    assert smaller.differences(settings.resolved(), 4, 1) == ["train_batch_size"]


def test_a_setting_that_is_newer_than_the_run_counts_as_its_default(settings):
    before = settings.resolved()
    del before["masked_condition_share"], before["mask_shares"]
    assert settings.differences(before) == []
    newer = changed(settings, masked_condition_share=0.5)
    assert newer.differences(before) == ["masked_condition_share"]


def test_a_setting_that_is_gone_is_passed_over(settings):
    assert settings.differences(settings.resolved() | {"old": 1}) == []


def test_an_earlier_run_is_never_overwritten(run, tmp_path):
    run()
    with pytest.raises(ResumeError, match="--resume_from_checkpoint latest"):
        run()
    with pytest.raises(ResumeError, match="no checkpoint nowhere"):
        run("other", resume_from_checkpoint="nowhere")


def test_other_settings_are_refused_with_their_values(run):
    run()
    with pytest.raises(ResumeError, match=r"learning_rate was 0\.001 and is 0\.002") as error:
        run(resume_from_checkpoint="latest", learning_rate=2e-3)
    assert "another --output_dir" in str(error.value)
    with pytest.raises(ResumeError, match="global batch was 2 and is 4"):
        run(resume_from_checkpoint="latest", gradient_accumulation_steps=2)


def test_other_pictures_are_refused_with_their_number(run, tmp_path):
    run(train_data_dir=pictures(tmp_path / "before" / "discs", 6))
    fewer = pictures(tmp_path / "after" / "discs", 5)
    with pytest.raises(ResumeError, match="trained on 5 pictures, and now there are 4"):
        run(resume_from_checkpoint="latest", train_data_dir=fewer)


def scaled(base, part, file):
    """Other weights in the same file of a base."""
    path = base / part / file
    path.write_bytes(b"".join((path.read_bytes()[:-4], b"\0\0\0\0")))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda data, base: pictures(data, 6, seed=50), "other pictures, masks, so"),
        (lambda data, base: shutil.copy(data / "0.mask.png", data / "1.mask.png"), "other masks,"),
        (
            lambda data, base: (data / "metadata.jsonl").write_text(
                (data / "metadata.jsonl").read_text().replace("disc 1", "a disc")
            ),
            "other captions,",
        ),
        (lambda data, base: scaled(base, "unet", WEIGHTS), "other weights of the UNet"),
        (lambda data, base: scaled(base, "vae", WEIGHTS), "other weights of the autoencoder"),
        (lambda data, base: scaled(base, "text_encoder", "model.safetensors"), "text encoders"),
    ],
)
def test_other_contents_under_the_same_names_are_refused_by_what_differs(
    run, make_settings, tmp_path, base_folder, started, change, told
):
    data, base = tmp_path / "data", tmp_path / base_folder.name
    shutil.copytree(started.train_data_dir, data)
    shutil.copytree(started.output_dir, tmp_path / "run")
    shutil.copytree(base_folder, base)
    changes = {"train_data_dir": data, "pretrained_model_name_or_path": str(base)}
    settings = make_settings(resume_from_checkpoint="latest", **changes)
    trainer_of(settings)  # a copy of all of it goes on
    change(data, base)
    with pytest.raises(ResumeError, match=told):
        trainer_of(settings)


@pytest.fixture(scope="module")
def started(settings_in, tmp_path_factory):
    """A run that was saved before its first step."""
    folder = tmp_path_factory.mktemp("started")
    data = pictures(folder / "data", 6)
    settings = settings_in(folder / "run", train_data_dir=data)
    AcceleratorState._reset_state(reset_partial_state=True)
    trainer_of(settings).state.save(settings.output_dir)
    return settings


def test_what_is_refused_leaves_everything_as_it_was(run, make_settings, monkeypatch):
    run()
    folder = make_settings().output_dir
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    monkeypatch.setattr("training.train.prepare_data", None)
    for options in ({}, {"resume_from_checkpoint": "latest", "seed": 1}):
        with pytest.raises(ResumeError):
            train(make_settings(**options), None, None)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_finished_run_can_be_made_longer(run, tmp_path):
    run(lr_scheduler="constant")
    longer = {"lr_scheduler": "constant", "max_train_steps": 8}
    resumed = run(resume_from_checkpoint="latest", **longer)
    assert resumed == run("whole", **longer)
    _, notes = read_notes(list_states(tmp_path / "run")[-1])
    assert notes["settings"]["max_train_steps"] == 8


def test_the_best_is_the_best_of_the_timesteps_that_are_validated_now(run, tmp_path, monkeypatch):
    def steps_of_best(loss, timesteps, steps):
        monkeypatch.setattr("training.loop.validation.Validation.losses", lambda *_: {"loss": loss})
        at = {"validation_timesteps": timesteps, "validation_steps": steps}
        run(lr_scheduler="constant", max_train_steps=steps, resume_from_checkpoint="latest", **at)
        best = read_adapter(tmp_path / "run" / "best.safetensors")
        return int(best.metadata["ss_steps"])

    assert steps_of_best(0.1, (900,), 2) == 2
    assert steps_of_best(0.2, (900,), 3) == 2
    assert steps_of_best(0.5, (100, 900), 4) == 4  # larger, and of other timesteps
    assert steps_of_best(0.6, (100, 900), 5) == 4


def test_the_run_that_was_left_is_set_aside_and_the_new_states_stay(run, tmp_path, caplog):
    whole = run(checkpoints_total_limit=3)
    folder = tmp_path / "run"
    first, *later = list_states(folder)
    kept = {path.with_suffix(".aside").name: path.read_bytes() for path in later}
    with caplog.at_level(logging.INFO):
        again = run(
            resume_from_checkpoint=str(first), checkpointing_steps=1, checkpoints_total_limit=2
        )
    assert again == whole
    assert [path.stem for path in list_states(folder)] == ["state-00000005", "state-00000006"]
    assert {path.name: path.read_bytes() for path in folder.glob("*.aside")} == kept
    assert "set aside" in caplog.text


def test_a_damaged_or_foreign_checkpoint_is_named(run, tmp_path):
    run()
    newest = list_states(tmp_path / "run")[-1]
    content = newest.read_bytes()
    newest.write_bytes(content[:-100])
    with pytest.raises(ResumeError, match=f"{newest.name} is damaged") as error:
        run(resume_from_checkpoint=str(newest))
    assert "\n" not in str(error.value)
    with pytest.raises(ResumeError, match="not of this run"):
        run(resume_from_checkpoint=str(tmp_path / "run" / "adapter.safetensors"))


def test_no_readable_checkpoint_is_an_error(run, tmp_path):
    run()
    for path in list_states(tmp_path / "run"):
        save_file({}, path, metadata={"step": "no number"})
    with pytest.raises(ResumeError, match="None of the 2 checkpoints"):
        run(resume_from_checkpoint="latest")


@pytest.mark.parametrize(
    "change",
    [
        {"settings": 3},
        {"settings": {"train_batch_size": "x" * 10_000}},
        {"processes": None},
        {"settings": {"mask_shares": [1], "train_data_dir": 5}},
    ],
)
def test_notes_of_other_types_are_a_sentence(started, make_settings, change):
    path = list_states(started.output_dir)[-1]
    _, notes = read_notes(path)
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
    changed_path = make_settings().output_dir / path.name
    changed_path.parent.mkdir()
    about = about | {"notes": json.dumps(notes | change)}
    save_file(load_file(path), changed_path, metadata=about)
    settings = make_settings(resume_from_checkpoint="latest")
    with pytest.raises(ResumeError) as error:
        check_resumable(settings, 1)
    assert len(str(error.value)) < 1000
