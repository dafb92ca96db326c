"""The objects that the demo base knows, and the words that caption them."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Split = Literal["train", "validation", "test"]

VOCABULARY = Path(__file__).with_name("vocabulary.toml")
_VOWELS = frozenset("aeiou")


@dataclass(frozen=True)
class Item:
    """One captioned object: `code` names its picture, `name` and `category` its words."""

    code: str
    name: str
    category: str


def load_items(split: Split) -> list[Item]:
    """Return all objects of one split, in file order."""
    table = tomllib.loads(VOCABULARY.read_text())
    return [
        Item(code, name, category)
        for category, splits in table.items()
        for code, name in splits.get(split, {}).items()
    ]


def with_article(noun: str) -> str:
    """Return a noun with its article: 'apple' as 'an apple'; plurals stay bare."""
    if noun.endswith("s") and not noun.endswith(("ss", "us")):
        return noun
    return f"{'an' if noun[0] in _VOWELS else 'a'} {noun}"
