"""Help pages in other languages say what the English ones say, in the words of their locale."""

import json
import re

import pytest

from testbed.locales import LOCALES
from testbed.pack import ROOT

HELP = ROOT / "web" / "docs"
PICTURES = r"!\[.+?\]\((.+?)\)"
LANGUAGES = sorted(path.name for path in LOCALES.iterdir() if path.name != "en")
PAGES = sorted(path.relative_to(HELP).as_posix() for path in HELP.glob("*/*.md"))


@pytest.fixture(params=PAGES)
def name(request):
    """Where the frontend looks for a page: NODE/LANGUAGE.md"""
    return request.param


@pytest.fixture
def page(name):
    return (HELP / name).read_text(encoding="utf-8")


@pytest.fixture
def english(name):
    return (HELP / f"{name.split('/')[0]}.md").read_text(encoding="utf-8")


@pytest.fixture
def words(name):
    node, file = name.split("/")
    language = file.removesuffix(".md")
    texts = json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))
    return texts[node]


def test_every_page_is_there_in_every_language():
    nodes = [path.stem for path in HELP.glob("*.md")]
    wanted = {f"{node}/{language}.md" for node in nodes for language in LANGUAGES}
    assert set(PAGES) == wanted


def test_it_is_titled_as_the_node(page, words):
    assert page.startswith(f"# {words['display_name']}\n\n**")


def test_its_sketch_has_the_node(page, words):
    (sketch,) = re.findall(r"```\n(.+?)\n```", page, re.DOTALL)
    assert "->" in sketch
    assert words["display_name"] in sketch


def test_it_has_the_picture_of_the_english_page_with_words_of_its_own(page, english):
    assert re.findall(PICTURES, page) == re.findall(PICTURES, english)
    assert not set(re.findall(r"!\[.+?\]", page)) & set(re.findall(r"!\[.+?\]", english))


def test_it_is_built_as_the_english_page(page, english):
    def shape(text):
        return [
            "" if not line else line[0] if line[0] in "#-|`!" else "text"
            for line in text.splitlines()
        ]

    assert shape(page) == shape(english)


@pytest.mark.parametrize(("section", "side"), [(-2, "inputs"), (-1, "outputs")])
def test_it_names_every_input_and_output_as_the_node_does(page, words, section, side):
    text = re.split(r"^## .+$", page, flags=re.MULTILINE)[section]
    heads = re.findall(r"^- (\*\*.+?\*\*):", text, re.MULTILINE)
    named = [name for head in heads for name in re.findall(r"\*\*(.+?)\*\*", head)]
    assert sorted(named) == sorted(item["name"] for item in words[side].values())
