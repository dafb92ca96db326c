"""Invariant 7: only safetensors are read or written, nothing is fetched, no path from a widget."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHIPPED = [
    ROOT / "__init__.py",
    ROOT / "install.py",
    *(path for room in ("nodes", "local_control") for path in sorted((ROOT / room).rglob("*.py"))),
]
# The registry's scanner matches text, comments included.
FORBIDDEN = ["torch.load", "pickle", "subprocess", "eval(", "exec(", "os.environ", "getenv"]
# Where there is no OpenCV, the pack runs its own install.py as it is loaded.
EXCEPTIONS = {"subprocess": ["__init__.py"]}
NETWORK = {"aiohttp", "ftplib", "http", "httpx", "requests", "socket", "urllib", "websocket"}
HUBS = {"diffusers", "huggingface_hub", "transformers"}
# Read as numbers and nothing else; a new text widget belongs here once it is known to be no path.
TEXT_WIDGETS = {"level_weights", "strength_curve"}


def trees():
    return [(path.relative_to(ROOT), ast.parse(path.read_text())) for path in SHIPPED]


def test_all_rooms_are_looked_at():
    assert len(SHIPPED) > 30


@pytest.mark.parametrize("words", FORBIDDEN)
def test_nothing_runs_code_of_files_or_reads_the_environment(words):
    found = [path.relative_to(ROOT).as_posix() for path in SHIPPED if words in path.read_text()]
    assert found == EXCEPTIONS.get(words, [])


def test_sources_are_plain_ascii():
    """So that no editor, console or code page of any system reads them otherwise."""
    assert [path.name for path in SHIPPED if not path.read_bytes().isascii()] == []


def test_nothing_reaches_for_the_network():
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names = {(node.module or "").split(".")[0]}
            else:
                continue
            assert not names & (NETWORK | HUBS), path


def test_no_widget_takes_a_path():
    found = set()
    for _, tree in trees():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not ast.unparse(node.func).endswith(
                "String.Input"
            ):
                continue
            if not any(keyword.arg == "force_input" for keyword in node.keywords):
                found.add(node.args[0].value)
    assert found == TEXT_WIDGETS
