"""The nodes in the language of the interface."""

import json

import pytest
from comfy_page import RENDERERS, add_node, empty_canvas

from testbed.locales import LOCALES

ENGLISH, SPANISH = (
    json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))
    for language in ("en", "es")
)
TITLE = "window.LiteGraph.registered_node_types.LocalControl_Condition.title"
CONDITION = SPANISH["LocalControl_Condition"]


@pytest.mark.parametrize("renderer", RENDERERS)
def test_a_node_has_its_words_in_the_language_of_the_interface(open_page, screenshots, renderer):
    page = open_page(renderer, locale="es")
    empty_canvas(page)
    title = page.evaluate(TITLE)
    node = f"window.app.graph.getNodeById({add_node(page, title, title, (700, 300))})"
    page.screenshot(path=screenshots / f"spanish_{renderer}.png")
    # Older frontends load their own words of a language after those of packs, and lose these.
    if title != ENGLISH["LocalControl_Condition"]["display_name"]:
        labels = page.evaluate(
            f"Object.fromEntries({node}.widgets.map(w => [w.name, w.label ?? w.name]))"
        )
        assert title == CONDITION["display_name"]
        for name in ("kind", "low_threshold", "blur", "blocks"):
            assert labels[name] == CONDITION["inputs"][name]["name"]
    shown = page.evaluate(
        f"""() => {{
            const kind = {node}.widgets.find(w => w.name === "kind");
            kind.value = "laplacian";
            return [kind.value, kind.options.getOptionLabel(kind.value)];
        }}"""
    )
    assert shown == ["laplacian", CONDITION["inputs"]["kind"]["options"]["laplacian"]]
