"""Where the README says that things are: templates in their menu, help beside a node."""

import pytest
from comfy_page import RENDERERS, add_node, empty_canvas, settle
from playwright.sync_api import expect


def test_a_template_is_opened_by_templates_extensions_local_control(page, screenshots):
    page.get_by_text("Templates", exact=True).first.click()
    panel = page.get_by_role("dialog").first
    expect(panel.get_by_text("Extensions", exact=True)).to_be_visible(timeout=60_000)
    panel.get_by_text("local_control", exact=True).first.click()
    template = panel.get_by_text("01_one_node_demo", exact=True).first
    template.wait_for(timeout=60_000)
    page.screenshot(path=screenshots / "templates.png")
    template.click()
    page.wait_for_function(
        "window.app.graph._nodes.some(n => n.type === 'LocalControl_LocalControl')", timeout=60_000
    )
    settle(page)


@pytest.mark.parametrize("renderer", RENDERERS)
def test_the_help_of_a_node_shows_its_picture(open_page, screenshots, renderer):
    page = open_page(renderer)
    empty_canvas(page)
    title = "Local Control Region"
    add_node(page, title, title, (700, 250))
    page.get_by_test_id("info-button").filter(visible=True).click()
    picture = page.locator("img[src*='docs/LocalControl_Region.webp']").first
    picture.wait_for(timeout=60_000)
    page.wait_for_function("image => image.naturalWidth > 0", arg=picture.element_handle())
    expect(page.get_by_text("First do this:").first).to_be_visible()
    page.screenshot(path=screenshots / f"help_{renderer}.png")
