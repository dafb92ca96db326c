"""The nodes in the language of the interface."""

import json

import pytest
from comfy_page import RENDERERS, add_node, empty_canvas, set_widget, settle

from testbed.locales import LOCALES

ENGLISH, SPANISH = (
    json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))
    for language in ("en", "es")
)
TITLE = "window.LiteGraph.registered_node_types.LocalControl_Condition.title"
CONDITION = SPANISH["LocalControl_Condition"]
WORDS = json.loads((LOCALES / "es" / "main.json").read_text(encoding="utf-8"))["localControl"]


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


@pytest.mark.parametrize("renderer", RENDERERS)
@pytest.mark.parametrize("locale", ["en", "es", "fr"])
def test_scripts_speak_the_language_of_the_interface_or_english(open_page, renderer, locale):
    page = open_page(renderer, locale=locale)
    empty_canvas(page)
    labels = page.evaluate(
        """(types) => types.flatMap((type) => {
            const node = LiteGraph.createNode(type);
            window.app.graph.add(node);
            return node.widgets.map((widget) => widget.label);
        })""",
        ["LocalControl_Region", "LocalControl_Condition", "LocalControl_LoadAdapter"],
    )
    set_widget(page, "LocalControl_LoadAdapter", "adapter_name", "text.safetensors")
    settle(page)
    told = page.locator(".local-control-adapter").inner_text()
    for words in ("finest level", "coarsest level", "live"):
        assert (WORDS[words] if locale == "es" else words) in labels
    words = "This file tells nothing that is known of adapters."
    assert (WORDS[words] if locale == "es" else words) in told
