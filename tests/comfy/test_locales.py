"""What the interface reads of our nodes and scripts in English and in other languages."""

import json
import re

import pytest

from testbed.locales import LOCALES, main_texts, node_texts

OTHERS = sorted(path.name for path in LOCALES.iterdir() if path.name != "en")
FILES = ("nodeDefs", "main")
# The frontend reads these as the marks of its own message format.
MARKS = "{}@|"
PLACE = re.compile(r"\{\w+\}")  # where a script puts a value


def read(language, name):
    return json.loads((LOCALES / language / f"{name}.json").read_text(encoding="utf-8"))


def flat(texts, path=""):
    """The texts by their whole key, such as LocalControl_Region.inputs.mask.tooltip."""
    if isinstance(texts, str):
        return {path: texts}
    return {
        key: text
        for name, inner in texts.items()
        for key, text in flat(inner, f"{path}.{name}" if path else name).items()
    }


def test_english_is_what_the_schemas_say(comfy):
    infos = {name: node.GET_NODE_INFO_V1() for name, node in comfy.nodes.items() if is_ours(name)}
    for name, texts in (("nodeDefs", node_texts(infos)), ("main", main_texts(infos))):
        now, kept = flat(texts), flat(read("en", name))
        changed = sorted(key for key in now | kept if now.get(key) != kept.get(key))
        assert not changed, f"run python -m testbed.locales; {name}.json is behind at {changed}"


def is_ours(name):
    return name.startswith("LocalControl_")


def test_there_is_another_language():
    assert "es" in OTHERS


@pytest.mark.parametrize("language", OTHERS)
@pytest.mark.parametrize("name", FILES)
def test_a_language_has_every_text_and_no_other(language, name):
    english, other = flat(read("en", name)), flat(read(language, name))
    missing = {key: english[key] for key in english if not other.get(key, "").strip()}
    assert not missing, f"locales/{language}/{name}.json has no translation of {missing}"
    assert not other.keys() - english.keys()


@pytest.mark.parametrize("language", OTHERS)
@pytest.mark.parametrize("name", FILES)
def test_whole_sentences_of_a_language_are_not_english(language, name):
    english, other = flat(read("en", name)), flat(read(language, name))
    same = {key for key, text in english.items() if " " in text and other[key] == text}
    assert not same, f"these are not translated yet: {sorted(same)}"


@pytest.mark.parametrize("language", ["en", *OTHERS])
@pytest.mark.parametrize("name", FILES)
def test_every_text_has_words_and_no_marks_of_messages(language, name):
    for key, text in flat(read(language, name)).items():
        assert text.strip(), key
        assert not set(MARKS) & set(PLACE.sub("", text)), key


@pytest.mark.parametrize("language", OTHERS)
def test_the_words_of_scripts_have_the_same_values_in_every_language(language):
    for words, text in read(language, "main")["localControl"].items():
        assert sorted(PLACE.findall(text)) == sorted(PLACE.findall(words)), words
