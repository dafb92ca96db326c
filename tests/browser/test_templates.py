"""Every template that runs on the demo model, opened and run in both ways of drawing nodes."""

import pytest
from comfy_page import (
    RENDERERS,
    crowded,
    node_id,
    open_template,
    reaching_out,
    run,
    set_widget,
)

from demo.templates.listing import TEMPLATES

RUNNABLE = [template.name for template in TEMPLATES if template.kit.suffix == "demo"]
LEAST_GAP = 38  # 40, less the borders that are drawn
SAMPLERS = ("KSampler", "LocalControl_LocalControl")


@pytest.mark.parametrize("renderer", RENDERERS)
@pytest.mark.parametrize("name", RUNNABLE)
def test_a_template_opens_and_runs_and_no_node_hides_another(
    open_page, screenshots, name, renderer
):
    page = open_page(renderer)
    open_template(page, name)
    unknown = page.evaluate(
        """() => window.app.graph._nodes
            .filter(n => n.type !== "MarkdownNote" && !LiteGraph.registered_node_types[n.type])
            .map(n => n.type)"""
    )
    assert unknown == []
    assert crowded(page, LEAST_GAP) == []
    for node_type in SAMPLERS:
        set_widget(page, node_type, "steps", 2)
    run(page)
    page.screenshot(path=screenshots / f"{name}_{renderer}.png")
    assert crowded(page, LEAST_GAP) == []
    assert reaching_out(page) == []


@pytest.mark.parametrize("renderer", RENDERERS)
def test_local_control_shows_live_pictures_then_a_slider_and_the_score_in_words(
    open_page, screenshots, renderer
):
    page = open_page(renderer)
    open_template(page, "01_one_node_demo")
    set_widget(page, "LocalControl_LocalControl", "steps", 3)
    set_widget(page, "LocalControl_LocalControl", "seed", 7 + RENDERERS.index(renderer))
    assert node_id(page, "LocalControl_LocalControl") in run(page)
    shown = page.locator(".local-control-comparison")
    assert "Edges followed" in shown.inner_text()
    assert shown.locator("img").count() == 2
    slider = shown.locator("input[type='range']")
    slider.evaluate("s => { s.value = 50; s.dispatchEvent(new Event('input')); }")
    over = shown.locator("img[alt='with control']")
    assert "50%" in over.evaluate("image => image.style.clipPath")
    page.screenshot(path=screenshots / f"local_control_{renderer}.png")


@pytest.mark.parametrize("renderer", RENDERERS)
def test_types_of_ours_have_colours_of_their_own(open_page, renderer):
    page = open_page(renderer)
    open_template(page, "02_one_region_demo")
    colours = page.evaluate(
        """() => ["LOCAL_REGIONS", "Z0_TRACE"].map((type) => [
            window.app.canvas.default_connection_color_byType[type],
            window.app.canvas.constructor.link_type_colors[type],
            getComputedStyle(document.documentElement).getPropertyValue(
                `--color-datatype-${type}`).trim(),
        ])"""
    )
    assert all(len(set(kinds)) == 1 and kinds[0] for kinds in colours)
    assert colours[0] != colours[1]
