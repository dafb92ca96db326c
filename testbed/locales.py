"""The English words of all nodes as ComfyUI's frontend reads them, in locales/en.

python -m testbed.locales    # writes locales/en anew, after a change of a schema

Other languages stand beside it and have the same keys; a test names those that they lack.
"""

import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .pack import ROOT
from .server import ComfyServer, prepare_workspace
from .workflow import inputs_of

LOCALES = ROOT / "locales"
_PREFIX = "LocalControl_"
# Whose options are no words of ours: files, and what ComfyUI samples with.
_OF_OTHERS = {"adapter_name", "sampler_name", "scheduler"}
# How a script has words that are shown.
_WORDS = re.compile(r'\b(?:t|mark)\("([^"]+)"')
_TYPES = {"LOCAL_REGIONS": "LOCAL REGIONS", "Z0_TRACE": "Z0 TRACE"}

Infos = Mapping[str, Mapping[str, Any]]


def node_texts(infos: Infos) -> dict[str, Any]:
    """Return the contents of nodeDefs.json: names, tooltips and choices of our nodes.

    infos: ComfyUI's object_info.
    """
    return {name: _node(info) for name, info in infos.items() if name.startswith(_PREFIX)}


def main_texts(infos: Infos) -> dict[str, Any]:
    """Return the contents of main.json: parts of categories, our types, our scripts' words."""
    parts = [
        part
        for name, info in infos.items()
        if name.startswith(_PREFIX)
        for part in info["category"].split("/")
    ]
    return {
        "nodeCategories": {part: part for part in parts},
        "dataTypes": _TYPES,
        "localControl": {words: words for words in script_words()},
    }


def script_words() -> list[str]:
    """Return the words that the scripts of the pack show, as they stand in them."""
    scripts = sorted((ROOT / "web").glob("*.js"))
    return [w for script in scripts for w in _WORDS.findall(script.read_text(encoding="utf-8"))]


def _node(info: Mapping[str, Any]) -> dict[str, Any]:
    outputs = zip(info["output_name"], info["output_tooltips"], strict=True)
    return {
        "display_name": info["display_name"],
        "description": info["description"],
        "inputs": {name: _input(name, spec) for name, spec in inputs_of(info)},
        "outputs": {
            str(i): {"name": name, "tooltip": tooltip} for i, (name, tooltip) in enumerate(outputs)
        },
    }


def _input(name: str, spec: list[Any]) -> dict[str, Any]:
    options = spec[1] if len(spec) > 1 else {}
    texts = {"name": name, "tooltip": options.get("tooltip", "")}
    choices = spec[0] if isinstance(spec[0], list) else options.get("options", [])
    if name in _OF_OTHERS or not choices:
        return texts
    return {**texts, "options": {choice: choice for choice in choices}}


def main() -> None:
    """Ask a server for its nodes, and write."""
    with (
        tempfile.TemporaryDirectory() as folder,
        ComfyServer(prepare_workspace(Path(folder), {})) as server,
    ):
        infos = server.object_info()
    for name, texts in (("nodeDefs", node_texts(infos)), ("main", main_texts(infos))):
        text = json.dumps(texts, indent=1, ensure_ascii=False)
        (LOCALES / "en" / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
