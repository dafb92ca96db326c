"""An adapter that was just trained, in a ComfyUI that is open: copied, refreshed, chosen, seen."""

import shutil

import pytest
from comfy_page import open_template, run, set_widget
from demo_server import random_base
from small_base import pictures

from demo.base import load_pipeline
from training.config.commands import read_settings
from training.config.run import TrainSettings
from training.loop.prepare import open_base, open_source
from training.train import train

NAME = "just_trained.safetensors"
NODE = 'window.app.graph._nodes.find(n => n.type === "LocalControl_LoadAdapter")'
ADAPTER = f'{NODE}.widgets.find(w => w.name === "adapter_name")'


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The adapter that three steps of the preset `demo` make."""
    folder = tmp_path_factory.mktemp("trained")
    load_pipeline(random_base(folder / "base.safetensors")).save_pretrained(folder / "base")
    flags = {
        "config": "demo",
        "pretrained_model_name_or_path": folder / "base",
        "train_data_dir": pictures(folder / "pictures", 6, (128, 128)),
        "output_dir": folder / "my-adapter",
        "max_train_steps": 3,
        "lr_warmup_steps": 1,
        "train_batch_size": 2,
        "num_validation_images": 0,
    }
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    settings = read_settings(TrainSettings, words)
    train(settings, open_base(settings), open_source(settings))
    return folder / "my-adapter" / "best.safetensors"


def newest_picture(server):
    """The bytes of what was saved last."""
    saved = (server.workspace / "output").rglob("*.png")
    return max(saved, key=lambda path: path.stat().st_mtime_ns).read_bytes()


def test_a_trained_adapter_is_copied_chosen_and_seen(page, server, trained):
    open_template(page, "02_one_region_demo")
    set_widget(page, "KSampler", "steps", 2)
    run(page)
    before = newest_picture(server)
    shutil.copy(trained, server.workspace / "models" / "controlnet" / NAME)
    page.keyboard.press("r")
    page.wait_for_function(f"{ADAPTER}.options.values.includes({NAME!r})")
    set_widget(page, "LocalControl_LoadAdapter", "adapter_name", NAME)
    run(page)
    assert newest_picture(server) != before
    assert page.evaluate(f"{ADAPTER}.value") == NAME
