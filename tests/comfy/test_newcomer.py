"""What training/README.md tells a newcomer: an adapter from a folder of photographs, in ComfyUI."""

import copy
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import skimage.data
import torch
from demo_server import sample_on

from demo.base import CHECKPOINT
from demo.example_files import WATCH, copy_pictures
from demo.workspace import prepare_demo_workspace
from testbed.pack import ROOT
from testbed.server import ComfyServer
from testbed.workflow import find, to_prompt

SHORT = "--max_train_steps 2 --lr_warmup_steps 1 --train_batch_size 4 --num_inference_steps 2"
PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "motorcycle_left", "motorcycle_right", "camera")


def commands():
    """Those of the section that needs no GPU, a list of words each."""
    text = (ROOT / "training" / "README.md").read_text()
    section = text.split("## Without a GPU")[1]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert block is not None
    return [shlex.split(line) for line in block[1].replace("\\\n", " ").splitlines()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder in which the README's commands were run, but with few steps."""
    folder = tmp_path_factory.mktemp("newcomer")
    pictures = folder / "pictures"
    pictures.mkdir()
    for name in PHOTOGRAPHS:
        shutil.copy(Path(skimage.data.__file__).parent / f"{name}.png", pictures)
        (pictures / f"{name}.txt").write_text(f"a photograph of {name}")
    places = {name: folder / name for name in ("build/base-diffusers", "pictures", "my-adapter")}
    for program, *words in commands():
        assert program == "python"
        arguments = [str(places.get(word, word)) for word in words]
        short = shlex.split(SHORT) if "training.train" in words else []
        subprocess.run([sys.executable, *arguments, *short], cwd=ROOT, check=True)
    return folder / "my-adapter"


def test_the_readme_s_run_writes_what_it_says(trained):
    for name in ("overlay.png", "masks.json", "config.toml", "best.safetensors", "samples", "logs"):
        assert (trained / name).exists(), name
    assert list(trained.glob("state-*.safetensors"))


def test_its_file_controls_in_our_nodes_and_in_stock_ones(trained, tmp_path):
    models = {"checkpoints": [CHECKPOINT], "controlnet": [trained / "best.safetensors"]}
    workspace = prepare_demo_workspace(tmp_path, models)
    copy_pictures(workspace / "input")
    with ComfyServer(workspace) as server:
        local = to_prompt(json.loads(WATCH.read_text()), server.object_info())
        adapter = local[find(local, "LocalControl_LoadAdapter")]["inputs"]
        adapter["adapter_name"] = "best.safetensors"
        local[find(local, "KSampler")]["inputs"]["steps"] = 2
        pictures = [sample_on(server, prompt) for prompt in (local, stock(local), free(local))]
    controlled, everywhere, uncontrolled = pictures
    assert not torch.equal(controlled, uncontrolled)
    assert not torch.equal(everywhere, uncontrolled)
    assert not torch.equal(everywhere, controlled)


def free(local):
    """The prompt without control."""
    prompt = copy.deepcopy(local)
    prompt[find(prompt, "LocalControl_Region")]["inputs"]["strength"] = 0.0
    return prompt


def stock(local):
    """The prompt with ComfyUI's own nodes in place of ours."""
    prompt = copy.deepcopy(local)
    region = prompt[find(prompt, "LocalControl_Region")]["inputs"]
    ours = prompt[find(prompt, "LocalControl_Apply")]["inputs"]
    name = {"control_net_name": "best.safetensors"}
    prompt["file"] = {"class_type": "ControlNetLoader", "inputs": name}
    inputs = {key: ours[key] for key in ("positive", "negative")}
    inputs |= {"control_net": ["file", 0], "image": region["image"], "strength": 1.0}
    inputs |= {"start_percent": 0.0, "end_percent": 1.0}
    prompt["stock"] = {"class_type": "ControlNetApplyAdvanced", "inputs": inputs}
    sampler = prompt[find(prompt, "KSampler")]["inputs"]
    sampler |= {"positive": ["stock", 0], "negative": ["stock", 1]}
    return prompt
