"""What people see of the nodes before they run one: words for everything, found by search."""

from pathlib import Path

import pytest

HELP = Path(__file__).parents[2] / "web" / "docs"


@pytest.fixture(scope="module")
def schemas(comfy):
    return {
        node_id: node.GET_SCHEMA()
        for node_id, node in comfy.nodes.items()
        if node_id.startswith("LocalControl_")
    }


def test_every_input_and_output_has_a_tooltip(schemas):
    missing = [
        f"{node_id}.{item.id or item.display_name}"
        for node_id, schema in schemas.items()
        for item in (*schema.inputs, *schema.outputs)
        if not item.tooltip
    ]
    assert missing == []


def test_every_node_has_a_help_page_with_what_to_do_first(schemas):
    for node_id, schema in schemas.items():
        text = (HELP / f"{node_id}.md").read_text()
        assert text.startswith(f"# {schema.display_name}\n"), node_id


def test_every_node_has_a_description_and_a_category_of_ours(schemas):
    for schema in schemas.values():
        assert schema.description
        assert schema.category.split("/")[0] == "local control"


def test_nodes_are_found_by_the_words_that_people_use_where_the_schema_has_them(schemas):
    if not hasattr(next(iter(schemas.values())), "search_aliases"):
        pytest.skip("this ComfyUI has no search aliases")
    words = {alias for schema in schemas.values() for alias in schema.search_aliases}
    assert {"regional control", "controlnet mask", "t2i adapter", "canny", "preview x0"} <= words
    assert all(schema.search_aliases for schema in schemas.values())
