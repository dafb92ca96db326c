"""Same settings, same bytes: however a run was stopped, and whoever loaded its data."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import tomli_w
from PIL import Image
from prepared import entries, prepare
from small_base import pictures
from small_runs import assert_same_run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.loop.state import list_states
from training.loop.trainer import Trainer

ROOT = Path(__file__).parents[2]


def command(settings, tmp_path, *launcher, module="training.train"):
    """The command line of a run, its settings in a TOML file."""
    path = tmp_path / "settings.toml"
    path.write_text(tomli_w.dumps(settings.resolved()))
    start = launcher or (sys.executable, "-m")
    return [*start, module, "--config", str(path)]


def stop_at(monkeypatch, step):
    """Send SIGTERM while a run is at its step `step`."""
    make_step = Trainer.step

    def stop_and_step(self, batches, done):
        if done == step - 1:
            signal.raise_signal(signal.SIGTERM)
        return make_step(self, batches, done)

    monkeypatch.setattr(Trainer, "step", stop_and_step)


# The epoch has five samples: two steps of two, then a filled one. Step 3 ends it.
@pytest.mark.parametrize(
    ("step", "changes"),
    [
        (1, {}),
        (3, {}),
        (4, {"use_ema": True}),
        (2, {"gradient_accumulation_steps": 2, "crop_variants": 2, "random_flip": True}),
    ],
)
def test_sigterm_saves_and_the_resumed_run_ends_with_the_same_bytes(
    run, monkeypatch, tmp_path, step, changes
):
    whole = run("whole", **changes)
    with monkeypatch.context() as patch:
        stop_at(patch, step)
        with pytest.raises(SystemExit, match=f"stopped at step {step}"):
            run("stopped", **changes)
    assert list_states(tmp_path / "stopped")[-1].name == f"state-{step:08d}.safetensors"
    assert run("stopped", resume_from_checkpoint="latest", **changes) == whole


def test_a_run_of_several_shapes_ends_with_the_same_bytes_too(run, monkeypatch, tmp_path):
    folder = pictures(tmp_path / "shapes", 6, (192, 192))
    pictures(folder / "wide", 5, (128, 256))
    wide = [
        json.loads(line) for line in (folder / "wide" / "metadata.jsonl").read_text().split("\n")
    ]
    rows = [row | {key: f"wide/{row[key]}" for key in ("file_name", "mask")} for row in wide]
    with (folder / "metadata.jsonl").open("a") as table:
        table.writelines("\n" + json.dumps(row) for row in rows)
    shapes = set()
    make_step = Trainer.step

    def see(self, batches, step):
        def seen():
            for batch in batches:
                shapes.add(tuple(batch.z0.shape[-2:]))
                yield batch

        return make_step(self, seen(), step)

    changes = {"train_data_dir": folder, "resolution": 192, "aspect_ratio_buckets": True}
    changes |= {"gradient_accumulation_steps": 2, "train_batch_size": 1}
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", see)
        whole = run("whole", **changes)
    assert shapes == {(24, 24), (16, 32)}
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        with pytest.raises(SystemExit, match="stopped at step 3"):
            run("stopped", **changes)
    assert run("stopped", resume_from_checkpoint="latest", **changes) == whole


def test_a_killed_run_goes_on_from_its_last_checkpoint(run, make_settings, tmp_path):
    steps = {"max_train_steps": 16, "checkpointing_steps": 1}
    whole = run("whole", **steps)
    settings = make_settings("killed", **steps)
    with subprocess.Popen(command(settings, tmp_path), cwd=ROOT) as process:
        while not list_states(tmp_path / "killed") and process.poll() is None:
            time.sleep(0.01)
        process.kill()
    assert list_states(tmp_path / "killed")
    assert not (tmp_path / "killed" / "adapter.safetensors").exists()
    assert run("killed", resume_from_checkpoint="latest", **steps) == whole


def test_a_signal_to_the_whole_group_saves_though_there_are_workers(make_settings, tmp_path):
    steps = {"max_train_steps": 60, "checkpointing_steps": 1}
    settings = make_settings("group", dataloader_num_workers=1, **steps)
    started = command(settings, tmp_path)
    with subprocess.Popen(
        started, cwd=ROOT, start_new_session=True, stderr=subprocess.PIPE, text=True
    ) as process:
        while not list_states(tmp_path / "group") and process.poll() is None:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGTERM)
        _, told = process.communicate(timeout=120)
    assert "go on with --resume_from_checkpoint latest" in told
    assert "Traceback" not in told


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(run, tmp_path, caplog):
    whole = run("whole")
    run("damaged", max_train_steps=6)
    (tmp_path / "damaged" / "adapter.safetensors").unlink()
    newest = list_states(tmp_path / "damaged")[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    assert run("damaged", resume_from_checkpoint="latest") == whole
    assert newest.name in caplog.text


def test_the_number_of_dataloader_workers_changes_nothing(run):
    assert run("alone") == run("workers", dataloader_num_workers=2)


def test_accumulated_parts_are_the_same_step(run, tmp_path):
    run("whole", train_batch_size=4)
    run("parts", train_batch_size=2, gradient_accumulation_steps=2)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def two_processes(settings, tmp_path, module="training.train", kind="--multi_gpu", **options):
    """Start a training, or another command, with two processes; options: of Popen."""
    flags = f"{kind} --num_processes 2 --num_machines 1 --mixed_precision no"
    launcher = (sys.executable, "-m", "accelerate.commands.launch", *flags.split())
    launcher += ("--dynamo_backend", "no", "-m")
    # On a CPU --multi_gpu means several processes; --cpu would start one.
    # One OpenMP thread each: two that wait for each other on two cores spin.
    return subprocess.Popen(
        command(settings, tmp_path, *launcher, module=module),
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        **options,
    )


def kill_all(process):
    """Kill a process and all that it has started, as running out of memory or power does."""
    for one in [*psutil.Process(process.pid).children(recursive=True), process]:
        one.kill()


def curves(folder):
    """Everything that was logged but for speeds: name -> {step: value}."""
    events = EventAccumulator(str(folder / "logs" / "local_control")).Reload()
    return {
        name: {event.step: event.value for event in events.Scalars(name)}
        for name in events.Tags()["scalars"]
        if name != "train/images/s"
    }


def assert_same_curves(one, two):
    assert one.keys() == two.keys() >= {"train/noise", "train/z0", "validation/loss"}
    for name, values in one.items():
        assert two[name] == pytest.approx(values, abs=1e-4, rel=1e-3), name


@pytest.mark.parametrize("control", ["adapter", "controlnet"])
def test_two_processes_learn_as_one_with_the_same_global_batch(
    run, make_settings, tmp_path, control
):
    options = {
        "control": control,
        "max_train_steps": 20,
        "validation_steps": 5,
        "report_to": "tensorboard",
    }
    run("one", train_batch_size=4, **options)
    # Their cache is cold, so that both meet in the building of it.
    settings = make_settings("two", cache_dir=tmp_path / "cache", **options)
    with two_processes(settings, tmp_path) as both:
        assert both.wait() == 0
    assert_same_curves(curves(tmp_path / "one"), curves(tmp_path / "two"))
    assert_same_run(tmp_path / "one", tmp_path / "two", control)
    assert not list((tmp_path / "cache").rglob("*.partial"))


def test_two_processes_that_were_killed_go_on_from_their_last_checkpoint(
    run, make_settings, tmp_path
):
    options = {"max_train_steps": 16, "checkpointing_steps": 4}
    run("one", train_batch_size=4, **options)
    settings = make_settings("two", resume_from_checkpoint="latest", **options)
    with two_processes(settings, tmp_path) as both:
        while not list_states(tmp_path / "two") and both.poll() is None:
            time.sleep(0.01)
        kill_all(both)
    assert list_states(tmp_path / "two")
    assert not (tmp_path / "two" / "adapter.safetensors").exists()
    with two_processes(settings, tmp_path) as both:
        assert both.wait() == 0
    assert (tmp_path / "two" / "adapter.safetensors").exists()
    assert_same_run(tmp_path / "one", tmp_path / "two")


def test_two_processes_share_a_base_and_learn_as_if_each_had_it(
    run, make_settings, tmp_path, picture_folder
):
    options = {
        "max_train_steps": 20,
        "validation_steps": 10,
        "num_validation_images": 1,
        "num_inference_steps": 4,
        "validation_prompt": ("a thing",),
        "validation_image": (str(picture_folder / "0.png"),),
        "freedom_loss_weight": 1.0,  # which predicts without control as well
        "report_to": "tensorboard",
    }
    run("one", train_batch_size=4, **options)
    settings = make_settings(
        "two", cache_dir=tmp_path / "cache", gradient_checkpointing=True, **options
    )
    told = {"kind": "--use_fsdp", "stderr": subprocess.PIPE, "text": True}
    with two_processes(settings, tmp_path, **told) as both:
        _, text = both.communicate()
    assert both.returncode == 0, text
    kept, whole = map(float, re.search(r"keeps about ([\d.]+) of ([\d.]+) MB", text).groups())
    assert whole / 2 <= kept < 0.51 * whole
    assert_same_curves(curves(tmp_path / "one"), curves(tmp_path / "two"))
    assert_same_run(tmp_path / "one", tmp_path / "two")
    for name in ("step-00000020.png", "prompts-00000020.png"):
        one, two = (
            np.asarray(Image.open(tmp_path / folder / "samples" / name)).astype(int)
            for folder in ("one", "two")
        )
        assert np.abs(one - two).max() <= 2


def test_two_processes_build_the_cache_that_one_builds(make_settings, tmp_path):
    one, two = (make_settings(name, cache_dir=tmp_path / f"cache-{name}") for name in ("1", "2"))
    prepare(one)
    with two_processes(two, tmp_path, "training.cache") as both:
        assert both.wait() == 0
    built = entries(two.cache_folder)
    assert built == entries(one.cache_folder)
    assert len(built) > 0
    assert not list(two.cache_folder.rglob("*.partial"))
