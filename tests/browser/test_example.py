"""What a person does with a workflow: run, tune a condition live, bypass, save, open again."""

import itertools
import json

import pytest
from comfy_page import RENDERERS, button, node_id, open_template, picture_of, run, set_widget

EXAMPLE = "04_watch_and_time_demo"
SEEDS = itertools.count(100)  # so that each run samples, and finds nothing cached


@pytest.fixture(params=RENDERERS)
def opened(open_page, request):
    """A page with the example in it, which runs in two steps."""
    page = open_page(request.param)
    open_template(page, EXAMPLE)
    set_widget(page, "KSampler", "steps", 2)
    return page


def test_the_template_browser_lists_our_examples(server):
    templates = server.get("/api/workflow_templates").json()
    assert EXAMPLE in templates["local_control"]


def test_run_shows_z0_live_on_our_node_and_ends_with_pictures(opened):
    set_widget(opened, "KSampler", "seed", next(SEEDS))
    assert node_id(opened, "LocalControl_Z0Preview") in run(opened)
    assert picture_of(opened, "SaveImage")


def test_a_region_has_its_colour_and_shows_itself_after_a_run(opened):
    set_widget(opened, "LocalControl_Region", "strength", 1.5)
    run(opened)
    assert picture_of(opened, "LocalControl_Region")
    region = node_id(opened, "LocalControl_Region")
    colours = opened.evaluate(
        """(id) => new Promise((done) => {
            const { canvas, graph } = window.app, drawn = {};
            const { linkRenderer } = canvas, before = linkRenderer.renderLinkDirect;
            linkRenderer.renderLinkDirect = function (context, from, to, link, ...rest) {
                const colour = rest[2];
                if (link) drawn[link.origin_id] = [...(drawn[link.origin_id] ?? []), colour];
                return before.apply(this, arguments);
            };
            canvas.draw(true, true);
            linkRenderer.renderLinkDirect = before;
            done({ title: graph.getNodeById(id).color, wires: drawn });
        })""",
        region,
    )
    assert colours["title"] == "#8a2424"
    assert set(colours["wires"].pop(str(region))) == {"rgb(230, 60, 60)"}
    assert not any(colour for others in colours["wires"].values() for colour in others)


def test_a_bypassed_region_leaves_the_picture_to_the_prompt(opened):
    opened.evaluate(
        """() => {
            const region = window.app.graph._nodes.find(n => n.type === "LocalControl_Region");
            region.mode = 4;
        }"""
    )
    run(opened)


def test_a_run_that_was_interrupted_can_be_run_again(opened):
    set_widget(opened, "KSampler", "steps", 200)
    set_widget(opened, "KSampler", "seed", next(SEEDS))
    opened.evaluate(
        """() => {
            window.interrupted = false;
            const { api } = window.app;
            api.addEventListener("execution_interrupted", () => { window.interrupted = true; });
            api.addEventListener("progress", () => api.interrupt(), { once: true });
        }"""
    )
    button(opened, "Run").click()
    opened.wait_for_function("window.interrupted", timeout=120_000)
    set_widget(opened, "KSampler", "steps", 2)
    run(opened)


def test_an_error_of_ours_is_told_in_its_own_sentence(opened):
    set_widget(opened, "LocalControl_Region", "start_percent", 0.9)
    set_widget(opened, "LocalControl_Region", "end_percent", 0.2)
    button(opened, "Run").click()
    opened.wait_for_selector(
        ".p-toast-message:has-text('set the start before the end')", timeout=60_000
    )


def test_what_we_say_while_a_stock_node_samples_is_told_as_ours(opened):
    set_widget(opened, "EmptyLatentImage", "width", 192)
    button(opened, "Run").click()
    told = opened.locator(".p-toast-message:has-text('The reference of Preview z0')")
    told.wait_for(timeout=60_000)
    assert told.inner_text().startswith("Local Control\n")


def test_an_error_inside_local_control_is_told_on_it(page, screenshots):
    open_template(page, "01_one_node_demo")
    set_widget(page, "LocalControl_LocalControl", "start_percent", 0.9)
    set_widget(page, "LocalControl_LocalControl", "end_percent", 0.2)
    button(page, "Run").click()
    told = page.locator(".p-toast-message:has-text('set the start before the end')")
    told.wait_for(timeout=60_000)
    assert told.inner_text().startswith("Local Control\n")
    page.screenshot(path=screenshots / "error.png")


def test_widgets_that_a_kind_does_not_use_are_hidden(opened):
    set_widget(opened, "LocalControl_Condition", "kind", "colour")
    hidden = opened.evaluate(
        """() => window.app.graph._nodes.find(n => n.type === "LocalControl_Condition").widgets
            .filter(w => w.hidden).map(w => w.name)"""
    )
    assert hidden == ["low_threshold", "high_threshold", "blur"]


def test_values_are_kept_when_a_workflow_is_saved_and_opened_again(opened):
    set_widget(opened, "LocalControl_Region", "strength", 1.25)
    set_widget(opened, "LocalControl_Region", "level_weights", "1, 0.5, 1, 1")
    saved = opened.evaluate("window.app.graph.serialize()")
    opened.evaluate(
        "async (text) => { await window.app.loadGraphData(JSON.parse(text)); }", json.dumps(saved)
    )
    again = opened.evaluate("window.app.graph.serialize()")

    def values(workflow):
        return {node["id"]: node.get("widgets_values") for node in workflow["nodes"]}

    assert values(again) == values(saved)
    assert len(again["links"]) == len(saved["links"])


def saved_file(page):
    """The address of the picture as it was saved: what is shown may be a smaller copy of it."""
    return picture_of(page, "SaveImage").split("&preview=")[0]


def test_a_saved_picture_opens_the_workflow_that_made_it(opened):
    set_widget(opened, "LocalControl_Region", "strength", 0.75)
    run(opened)
    opened.evaluate(
        """async (source) => {
            const blob = await (await fetch(source)).blob();
            window.app.graph.clear();
            const file = new File([blob], "picture.png", { type: "image/png" });
            await window.app.handleFile(file);
        }""",
        saved_file(opened),
    )
    opened.wait_for_function("window.app.graph._nodes.length > 10")
    strength = opened.evaluate(
        """() => window.app.graph._nodes.find(n => n.type === "LocalControl_Region")
            .widgets.find(w => w.name === "strength").value"""
    )
    assert strength == 0.75


QUEUE_IS_EMPTY = """async () => {
    const queue = await (await window.app.api.fetchApi("/queue")).json();
    return queue.queue_running.length + queue.queue_pending.length === 0;
}"""


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
    page.wait_for_function(QUEUE_IS_EMPTY, timeout=60_000)
    return page.evaluate("[...new Set(window.ran)]")


FIND_CONDITION = """() => {
    const nodes = window.app.graph._nodes;
    window.condition = nodes.find(n => n.type === "LocalControl_Condition");
}"""


def test_a_live_condition_runs_by_itself_when_an_option_changes(opened):
    page = opened
    page.evaluate(FIND_CONDITION)
    assert tune_condition(page) == [str(page.evaluate("window.condition.id"))]
    assert picture_of(page, "LocalControl_Condition")
    saved = page.evaluate("window.app.graph.serialize().nodes")
    (node,) = (n for n in saved if n["type"] == "LocalControl_Condition")
    assert node["widgets_values"] == ["canny", 80, 120, 1, 8]


def test_a_live_condition_leaves_the_samplers_seed_alone(opened):
    page = opened
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


def test_a_live_condition_that_cannot_run_says_why(opened):
    page = opened
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


def test_a_live_condition_runs_inside_a_subgraph(opened):
    page = opened
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
