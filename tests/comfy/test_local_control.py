"""Local Control, the one node: it does what its parts do, and nothing twice."""

import itertools
import json

import pytest
from demo_server import make_workspace, sample_on

from demo.example_files import DEMO_EXAMPLES
from testbed.server import ComfyServer
from testbed.workflow import find, to_prompt

STEPS = 3


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ComfyServer(make_workspace(tmp_path_factory.mktemp("one-node"))) as running:
        yield running


def prompt_of(server, name, sampler):
    prompt = to_prompt(
        json.loads((DEMO_EXAMPLES / f"{name}.json").read_text()), server.object_info()
    )
    prompt[find(prompt, sampler)]["inputs"]["steps"] = STEPS
    return prompt


def samplings_of(server, prompt):
    """How often a run of a prompt samples: so often its steps begin anew, some told twice."""
    seen = [STEPS]
    server.run(prompt, lambda node, step, total: seen.append(step) if total == STEPS else None)
    return sum(step < before for before, step in itertools.pairwise(seen))


def test_its_picture_is_that_of_its_parts(server):
    one = sample_on(server, prompt_of(server, "01_one_node_demo", "LocalControl_LocalControl"))
    prompt = prompt_of(server, "02_one_region_demo", "KSampler")
    told = {"low_threshold": 100, "high_threshold": 200, "blur": 0.0}  # by the adapter's file
    prompt[find(prompt, "LocalControl_Condition")]["inputs"] |= told
    assert one.equal(sample_on(server, prompt))


def test_without_control_the_same_seed_is_sampled_once(server):
    prompt = prompt_of(server, "01_one_node_demo", "LocalControl_LocalControl")
    inputs = prompt[find(prompt, "LocalControl_LocalControl")]["inputs"]
    inputs["seed"] = 5
    both = samplings_of(server, prompt)
    inputs["strength"] = 1.5
    again = samplings_of(server, prompt)
    inputs |= {"strength": 1.25, "compare": False}
    assert (both, again, samplings_of(server, prompt)) == (2, 1, 1)


def test_its_kind_follows_the_adapter_s_file(server):
    prompt = prompt_of(server, "01_one_node_demo", "LocalControl_LocalControl")
    prompt[find(prompt, "LocalControl_LocalControl")]["inputs"] |= {
        "adapter_name": "local_colour_demo.safetensors"
    }
    outputs = server.run(prompt)
    words = [
        entry["local_control_comparison"][0]["words"]
        for entry in outputs.values()
        if "local_control_comparison" in entry
    ]
    assert words[0].startswith("Colours followed")
