"""What people see of the nodes before they run one: words for everything, found by search."""

import re
from collections import Counter

import pytest
from pictures import MOST_BYTES
from PIL import Image

from testbed.pack import ROOT, shipped_files

HELP = ROOT / "web" / "docs"
IDS = sorted(path.stem for path in HELP.glob("*.md"))
# What people look for, and the node that they mean.
SEARCHED = {
    "regional control": "LocalControl_Region",
    "controlnet mask": "LocalControl_Region",
    "masked controlnet": "LocalControl_Region",
    "region": "LocalControl_Region",
    "mask control": "LocalControl_Region",
    "feather": "LocalControl_Region",
    "t2i adapter": "LocalControl_LoadAdapter",
    "canny": "LocalControl_Condition",
    "sobel": "LocalControl_Condition",
    "edges": "LocalControl_Condition",
    "colour": "LocalControl_Condition",
    "color": "LocalControl_Condition",
    "preview x0": "LocalControl_Z0Preview",
    "latent preview": "LocalControl_Z0Preview",
    "live preview": "LocalControl_Z0Preview",
    "compare": "LocalControl_Compare",
}


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


@pytest.fixture(params=IDS)
def node_id(request):
    return request.param


@pytest.fixture
def page(node_id):
    return (HELP / f"{node_id}.md").read_text(encoding="utf-8")


def test_every_node_has_a_help_page_and_no_page_is_left_over(schemas):
    assert set(IDS) == schemas.keys()


def test_a_help_page_says_first_what_to_do(schemas, node_id, page):
    title, first, *_ = page.split("\n\n")
    assert title == f"# {schemas[node_id].display_name}"
    assert first.startswith("**First do this:** ")


def test_a_help_page_has_a_picture_that_the_pack_brings_along(node_id, page):
    """Relative to the page: ComfyUI's help pane looks for it in the folder of the page."""
    (words, name), *_ = re.findall(r"!\[(.+?)\]\((.+?)\)", page)
    path = HELP / name
    assert name == f"{node_id}.webp"
    assert len(words) > 20
    with Image.open(path) as picture:
        assert picture.format == "WEBP"
        assert min(picture.size) > 100
    assert path.stat().st_size <= MOST_BYTES
    assert path.relative_to(ROOT) in set(shipped_files())


def test_all_pictures_of_the_help_pages_are_small():
    assert sum(path.stat().st_size for path in HELP.glob("*.webp")) < 500_000


def test_a_help_page_has_a_wiring_sketch_with_its_node(schemas, node_id, page):
    (sketch,) = re.findall(r"```\n(.+?)\n```", page, re.DOTALL)
    assert "->" in sketch
    assert schemas[node_id].display_name in sketch


@pytest.mark.parametrize(("section", "side"), [("Inputs", "inputs"), ("Outputs", "outputs")])
def test_a_help_page_names_every_input_and_output(schemas, node_id, page, section, side):
    text = page.split(f"## {section}\n")[1].split("\n## ")[0]
    heads = re.findall(r"^- (\*\*.+?\*\*):", text, re.MULTILINE)
    named = [name for head in heads for name in re.findall(r"\*\*(.+?)\*\*", head)]
    items = getattr(schemas[node_id], side)
    wanted = [item.id if side == "inputs" else item.display_name for item in items]
    missing, unknown = set(wanted) - set(named), set(named) - set(wanted)
    assert not missing, f"{node_id}.md does not tell of its {side} {sorted(missing)}"
    assert not unknown, f"{node_id}.md tells of {sorted(unknown)}, which is none of its {side}"
    assert len(named) == len(set(named))


def test_every_node_has_a_description_and_a_category_of_ours(schemas):
    for schema in schemas.values():
        assert schema.description
        assert schema.category.split("/")[0] == "local control"


@pytest.mark.parametrize(("words", "node_id"), SEARCHED.items())
def test_nodes_are_found_by_the_words_that_people_use(schemas, words, node_id):
    schema = schemas[node_id]
    if not hasattr(schema, "search_aliases"):
        pytest.skip("this ComfyUI has no search aliases")
    assert words in schema.search_aliases


def test_every_node_has_words_that_it_is_found_by(schemas):
    if not hasattr(next(iter(schemas.values())), "search_aliases"):
        pytest.skip("this ComfyUI has no search aliases")
    assert [name for name, schema in schemas.items() if not schema.search_aliases] == []


def test_nodes_are_sorted_into_categories_of_a_few(schemas):
    sizes = Counter(schema.category for schema in schemas.values())
    assert sizes["local control"] == 1  # the node for the first ten minutes stands out
    assert max(sizes.values()) <= 6
