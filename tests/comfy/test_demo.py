"""The committed demo model and adapters through a real server: regions follow their conditions."""

import copy
import json

import pytest
from demo_server import sample_on

from demo.base import ADAPTERS, CHECKPOINT
from demo.canny import EDGES
from demo.example_files import COLOURS_PICTURE, EDGES_PICTURE, SEVERAL_REGIONS, copy_pictures
from demo.sheet import read_masked, to_tensor
from demo.workspace import prepare_demo_workspace
from local_control.conditions import colour
from local_control.metrics import divergence, edge_match
from testbed.server import ComfyServer
from testbed.workflow import to_prompt


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    models = {"checkpoints": [CHECKPOINT], "controlnet": list(ADAPTERS.values())}
    workspace = prepare_demo_workspace(tmp_path_factory.mktemp("demo"), models)
    copy_pictures(workspace / "input")
    with ComfyServer(workspace) as running:
        yield running


@pytest.fixture(scope="module")
def images(server):
    """The example of several regions, as it is and with strengths of 0."""
    controlled = to_prompt(json.loads(SEVERAL_REGIONS.read_text()), server.object_info())
    free = copy.deepcopy(controlled)
    for node in free.values():
        if node["class_type"] == "LocalControl_Region":
            node["inputs"]["strength"] = 0.0
    return [sample_on(server, prompt) for prompt in (controlled, free)]


def test_the_region_of_edges_follows_the_edges_of_its_picture(images):
    source, mask = read_masked(EDGES_PICTURE)
    wanted = EDGES(to_tensor(source))
    controlled, free = (edge_match(EDGES(image), wanted, mask).f1 for image in images)
    assert controlled > free + 0.2


def test_the_region_of_colours_has_the_colours_of_its_picture(images):
    source, mask = read_masked(COLOURS_PICTURE)
    wanted = colour(to_tensor(source))
    controlled, free = (divergence(colour(image), wanted, mask) for image in images)
    assert controlled < 0.8 * free
