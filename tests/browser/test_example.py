"""The example workflow as a person meets it: template browser, graph, run, live z0'."""

import json

import pytest
import requests
from demo_server import make_workspace

from demo.examples import ONE_REGION
from testbed.server import ComfyServer

SAVED = json.loads(ONE_REGION.read_text())
NODES, LINKS = len(SAVED["nodes"]), len(SAVED["links"])


@pytest.fixture(scope="module")
def server(tmp_path_factory, browser):
    with ComfyServer(make_workspace(tmp_path_factory.mktemp("browser"))) as running:
        url = f"{running.url}/api/settings/Comfy.TutorialCompleted"
        requests.post(url, json=True, timeout=30).raise_for_status()
        yield running


@pytest.fixture
def page(server, browser):
    errors = []
    context = browser.new_context(viewport={"width": 1800, "height": 1000})
    opened = context.new_page()
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto(server.url)
    opened.wait_for_function("window.app && window.app.graph && window.app.graph._nodes")
    opened.wait_for_selector("button[aria-label='Run']", timeout=60_000)
    yield opened
    context.close()
    assert not errors


def open_template(page):
    page.evaluate(
        """async () => {
            const url = "/api/workflow_templates/local_control/one_region_demo.json";
            await window.app.loadGraphData(await (await fetch(url)).json());
        }"""
    )
    page.wait_for_function(f"window.app.graph._nodes.length === {NODES}")


def test_the_template_browser_lists_our_examples(server):
    templates = server.get("/api/workflow_templates").json()
    assert "one_region_demo" in templates["local_control"]


def test_the_example_opens_with_every_node_known_and_linked(page):
    open_template(page)
    unknown = page.evaluate(
        """() => window.app.graph._nodes
            .filter(n => n.type !== "MarkdownNote" && !LiteGraph.registered_node_types[n.type])
            .map(n => n.type)"""
    )
    assert unknown == []
    assert (
        page.evaluate("Object.keys(window.app.graph.links).length || window.app.graph.links.size")
        == LINKS
    )


def test_run_shows_z0_live_on_our_node_and_ends_with_pictures(page):
    open_template(page)
    page.evaluate(
        """() => {
            window.seen = {previews: new Set(), done: false, error: null};
            const api = window.app.api;
            api.addEventListener("b_preview_with_metadata",
                e => window.seen.previews.add(String(e.detail.displayNodeId ?? e.detail.nodeId)));
            api.addEventListener("execution_success", () => { window.seen.done = true; });
            api.addEventListener("execution_error", e => { window.seen.error = e.detail; });
        }"""
    )
    page.click("button[aria-label='Run']")
    page.wait_for_function("window.seen.done || window.seen.error", timeout=120_000)
    assert page.evaluate("window.seen.error") is None
    node = page.evaluate(
        "String(window.app.graph._nodes.find(n => n.type === 'LocalControl_Z0Preview').id)"
    )
    assert node in page.evaluate("[...window.seen.previews]")
    page.wait_for_function(
        "window.app.graph._nodes.find(n => n.type === 'SaveImage').imgs?.length === 1"
    )


def tune_condition(page):
    """Change options before and after the live switch is on."""
    page.evaluate(
        """() => {
            window.ran = [];
            window.app.api.addEventListener("executed", e => window.ran.push(e.detail.node));
            const set = (name, value) => {
                const widget = window.condition.widgets.find(w => w.name === name);
                widget.value = value;
                widget.callback(value);
            };
            set("low_threshold", 90);
            set("live", true);
            set("low_threshold", 80);
            set("high_threshold", 120);
        }"""
    )
    page.wait_for_function("window.ran.length > 0", timeout=60_000)
    page.wait_for_timeout(1000)
    return page.evaluate("[...new Set(window.ran)]")


FIND_CONDITION = """() => {
    const nodes = window.app.graph._nodes;
    window.condition = nodes.find(n => n.type === "LocalControl_Condition");
}"""


def test_a_live_condition_runs_by_itself_when_an_option_changes(page):
    open_template(page)
    page.evaluate(FIND_CONDITION)
    assert tune_condition(page) == [str(page.evaluate("window.condition.id"))]
    page.wait_for_function("window.condition.imgs?.length === 1")
    saved = page.evaluate("window.app.graph.serialize().nodes")
    (node,) = (n for n in saved if n["type"] == "LocalControl_Condition")
    assert node["widgets_values"] == ["canny", 80, 120, 1, 8]


def test_a_live_condition_leaves_the_samplers_seed_alone(page):
    open_template(page)
    page.evaluate(FIND_CONDITION)
    page.evaluate(
        """() => {
            const sampler = window.app.graph._nodes.find(n => n.type === "KSampler");
            sampler.widgets.find(w => w.name === "control_after_generate").value = "randomize";
            window.seed = sampler.widgets.find(w => w.name === "seed");
        }"""
    )
    before = page.evaluate("window.seed.value")
    tune_condition(page)
    assert page.evaluate("window.seed.value") == before


def test_a_live_condition_that_cannot_run_says_why(page):
    open_template(page)
    page.evaluate(FIND_CONDITION)
    page.evaluate(
        """() => {
            const widgets = window.condition.widgets;
            const low = widgets.find(w => w.name === "low_threshold");
            widgets.find(w => w.name === "live").value = true;
            low.value = -5;
            low.callback(-5);
        }"""
    )
    page.wait_for_selector(".p-toast-message", timeout=30_000)


def test_a_live_condition_runs_inside_a_subgraph(page):
    open_template(page)
    page.evaluate(FIND_CONDITION)
    page.evaluate(
        """() => {
            const { node } = window.app.graph.convertToSubgraph(new Set([window.condition]));
            const inner = node.subgraph.nodes;
            window.condition = inner.find(n => n.type === "LocalControl_Condition");
            window.outer = node;
        }"""
    )
    ids = page.evaluate("`${window.outer.id}:${window.condition.id}`")
    assert tune_condition(page) == [ids]
