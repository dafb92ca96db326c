"""Level weights as sliders, strength over time as a curve: the texts in workflows stay the same."""

import json
from pathlib import Path

import pytest
from comfy_page import RENDERERS, open_template, set_widget

OLD = Path(__file__).parents[1] / "data" / "release_0.1.0" / "one_region_demo.json"
REGION = "LocalControl_Region"
LEVELS = ["finest level", "fine level", "coarse level", "coarsest level"]
CURVE = "strength over time"


@pytest.fixture(params=RENDERERS)
def opened(open_page, request):
    """A page with the last release's workflow, whose region has texts of its own."""
    page = open_page(request.param)
    graph = json.loads(OLD.read_text())
    (region,) = (node for node in graph["nodes"] if node["type"] == REGION)
    region["widgets_values"][4] = "1, 0.5, 1, 1.5"
    region["widgets_values"][6] = "1, 0"
    page.evaluate(
        """async (text) => {
            await window.app.loadGraphData(JSON.parse(text));
            window.region = () => window.app.graph._nodes.find(
                (n) => n.type === "LocalControl_Region");
        }""",
        json.dumps(graph),
    )
    page.wait_for_timeout(500)
    return page


def inputs(page):
    """What the region's node would be run with."""
    return page.evaluate(
        """async () => Object.values((await window.app.graphToPrompt()).output)
            .find((n) => n.class_type === "LocalControl_Region").inputs"""
    )


def widget(page, name):
    """The value of a widget, and whether it is hidden."""
    return page.evaluate(
        """(name) => {
            const found = window.region().widgets.find((w) => w.name === name);
            return [found.value, !!found.hidden];
        }""",
        name,
    )


def has_curves(page):
    return page.evaluate("!!window.app.widgets.CURVE && !!window.LiteGraph.vueNodesMode")


def test_a_workflow_of_the_last_release_means_what_it_meant(opened):
    found = inputs(opened)
    assert (found["level_weights"], found["strength_curve"]) == ("1, 0.5, 1, 1.5", "1, 0")
    assert [widget(opened, level) for level in LEVELS] == [
        [weight, False] for weight in (1, 0.5, 1, 1.5)
    ]
    assert widget(opened, "level_weights")[1]
    saved = opened.evaluate("window.region().serialize().widgets_values")
    assert saved == [2, 0, 1, 0, "1, 0.5, 1, 1.5", "frame", "1, 0", "both"]


def test_a_slider_sets_the_weight_of_its_level(opened):
    set_widget(opened, REGION, "coarse level", 0.25)
    found = inputs(opened)
    assert found["level_weights"] == "1, 0.5, 0.25, 1.5"
    assert not found.keys() & set(LEVELS)


@pytest.mark.parametrize("text", ["1, 3, 1, 1", "1, 1", "-1, 1, 1, 1", "many"])
def test_weights_that_no_sliders_show_keep_their_text(opened, text):
    set_widget(opened, REGION, "level_weights", text)
    assert widget(opened, "level_weights") == [text, False]
    assert all(widget(opened, level)[1] for level in LEVELS)
    set_widget(opened, REGION, "level_weights", "1, 1, 1, 1")
    assert widget(opened, "level_weights")[1]


def test_a_curve_shows_the_text_where_the_frontend_has_one(opened):
    assert widget(opened, "strength_curve")[1] == has_curves(opened)
    if has_curves(opened):
        assert widget(opened, CURVE)[0]["points"] == [[0, 1], [1, 0]]
        set_widget(opened, REGION, "strength_curve", "2, 1")
        assert widget(opened, "strength_curve") == ["2, 1", False]


def test_a_rounded_curve_is_kept_as_numbers_and_opens_with_its_points(opened):
    if not has_curves(opened):
        pytest.skip("this frontend draws no curves, or not here")
    curve = {"points": [[0, 1], [0.3, 0.9], [1, 0]], "interpolation": "monotone_cubic"}
    set_widget(opened, REGION, CURVE, curve)
    factors = [float(part) for part in inputs(opened)["strength_curve"].split(",")]
    assert len(factors) > 8
    assert (factors[0], factors[-1]) == (1, 0)
    assert factors == sorted(factors, reverse=True)
    at = round(0.3 * (len(factors) - 1))
    assert factors[at] == pytest.approx(0.9, abs=0.03)
    opened.evaluate("async () => { await window.app.loadGraphData(window.app.graph.serialize()); }")
    assert widget(opened, CURVE) == [curve, False]
    set_widget(opened, REGION, "strength_curve", "1, 0.25, 0.5")
    assert widget(opened, CURVE)[0]["points"] == [[0, 1], [0.5, 0.25], [1, 0.5]]


def test_a_curve_is_drawn_by_hand(opened, screenshots):
    if not has_curves(opened):
        pytest.skip("this frontend draws no curves, or not here")
    opened.evaluate(
        """() => {
            const node = window.region();
            node.showAdvanced = true;
            window.app.canvas.ds.scale = 1;
            window.app.canvas.ds.offset = [300 - node.pos[0], 120 - node.pos[1]];
            window.app.canvas.setDirty(true, true);
        }"""
    )
    opened.wait_for_timeout(500)
    box = opened.locator("[data-testid=curve-editor]").bounding_box()
    opened.mouse.click(box["x"] + box["width"] / 2, box["y"] + 0.2 * box["height"])
    opened.screenshot(path=screenshots / "region_widgets.png")
    factors = [float(part) for part in inputs(opened)["strength_curve"].split(",")]
    assert max(factors) > 0.7
    assert factors[len(factors) // 2] > 0.7
    assert factors[-1] == 0


@pytest.mark.parametrize("renderer", RENDERERS)
def test_a_size_that_a_latent_gives_is_not_asked(open_page, renderer):
    page = open_page(renderer)
    open_template(page, "03_several_regions_demo")
    hidden = """() => window.app.graph._nodes.find(
        (n) => n.type === "LocalControl_PreviewRegions").widgets
        .filter((w) => ["width", "height"].includes(w.name)).map((w) => !!w.hidden)"""
    assert page.evaluate(hidden) == [True, True]
    page.evaluate(
        """() => {
            const node = window.app.graph._nodes.find(
                (n) => n.type === "LocalControl_PreviewRegions");
            node.disconnectInput(node.inputs.findIndex((i) => i.name === "latent"));
        }"""
    )
    assert page.evaluate(hidden) == [False, False]
