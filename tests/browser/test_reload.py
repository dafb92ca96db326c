"""A page that is loaded again: a run that finds everything cached shows what was made before."""

import pytest
from comfy_page import RENDERERS, node_id, open_template, picture_of, run, set_widget

ONE_NODE, ONE_REGION = "01_one_node_demo", "02_one_region_demo"


@pytest.mark.parametrize("renderer", RENDERERS)
def test_local_control_shows_the_comparison_of_a_cached_run(open_page, renderer):
    def open_and_run(page):
        open_template(page, ONE_NODE)
        set_widget(page, "LocalControl_LocalControl", "steps", 1)
        set_widget(page, "LocalControl_LocalControl", "seed", seed)
        live = run(page)
        shown = page.locator(".local-control-comparison")
        shown.locator("img").first.wait_for(state="attached")
        pictures = shown.locator("img").evaluate_all("all => all.map(image => image.src)")
        return live, shown.inner_text(), pictures

    seed = 70 + RENDERERS.index(renderer)
    live, words, pictures = open_and_run(open_page(renderer))
    assert live
    assert open_and_run(open_page(renderer)) == ([], words, pictures)


def test_a_region_shows_itself_in_its_colour(open_page):
    def open_and_run():
        page = open_page("classic")
        open_template(page, ONE_REGION)
        set_widget(page, "KSampler", "steps", 1)
        live = run(page)
        assert picture_of(page, "LocalControl_Region")
        region = f"window.app.graph.getNodeById({node_id(page, 'LocalControl_Region')})"
        return live, page.evaluate(f"{region}.color")

    live, colour = open_and_run()
    assert live
    assert open_and_run() == ([], colour)
