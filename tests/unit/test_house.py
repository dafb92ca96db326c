"""Which parts of the repository import which: arrows point down, and none go in circles."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Bottom first: a part imports those before it and itself, and none after it.
FLOORS = ("local_control", "training", "testbed", "demo", "lab", "benchmarks")
DRAWERS = ("data", "config", "models", "cached", "evaluation", "loop")
# `nodes` is what ComfyUI loads: it stands on local_control alone, and nothing stands on it.
APART = {"nodes": {"local_control", "nodes"}}
# What has no need of a part below it, so that it can be moved without it.
NEEDLESS = {"testbed": {"training"}}


def modules(folder: Path) -> Iterator[Path]:
    """The Python files of a folder."""
    yield from sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def imported(path: Path) -> Iterator[tuple[str, ...]]:
    """Every module that a file imports, wherever in it, as the parts of its full name."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (tuple(name.name.split(".")) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = (*above, *(node.module or "").split(".")) if node.module else above
            yield from ((*module, name.name) for name in node.names)


def wrong_imports(folder: Path, allowed: set[str], known: set[str], depth: int) -> list[str]:
    """Imports of parts at `depth` of the name that are known and not allowed."""
    return [
        f"{path.relative_to(ROOT)} imports {'.'.join(name)}"
        for path in modules(folder)
        for name in imported(path)
        if len(name) > depth and name[depth] in known - allowed
        if name[:depth] == folder.relative_to(ROOT).parts[:depth]
    ]


@pytest.mark.parametrize("floor", [*FLOORS, *APART])
def test_every_part_imports_only_what_is_below_it(floor):
    below = set(FLOORS[: FLOORS.index(floor) + 1]) if floor in FLOORS else APART[floor]
    allowed = below - NEEDLESS.get(floor, set())
    assert not wrong_imports(ROOT / floor, allowed, {*FLOORS, *APART}, depth=0)


@pytest.mark.parametrize("drawer", DRAWERS)
def test_every_drawer_of_the_trainer_imports_only_what_is_below_it(drawer):
    folder = ROOT / "training" / drawer
    commands = {path.stem for path in (ROOT / "training").glob("*.py")} - {"__init__"}
    allowed = set(DRAWERS[: DRAWERS.index(drawer) + 1])
    assert not wrong_imports(folder, allowed, {*DRAWERS, *commands}, depth=1)


def test_every_drawer_has_its_place_in_the_order():
    found = {path.parent.name for path in (ROOT / "training").glob("*/__init__.py")}
    assert found == set(DRAWERS)


@pytest.mark.parametrize("part", [*FLOORS, *APART])
def test_no_modules_import_each_other_in_a_circle(part):
    """Imports inside functions count as well: they only hide a circle."""
    names = {path: path.relative_to(ROOT).with_suffix("").parts for path in modules(ROOT / part)}
    known = {name[:-1] if name[-1] == "__init__" else name: path for path, name in names.items()}

    def targets(path: Path) -> set[Path]:
        found = {known.get(name) or known.get(name[:-1]) for name in imported(path)}
        return {target for target in found if target is not None and target != path}

    graph = {path: targets(path) for path in names}
    while free := [path for path, wanted in graph.items() if not wanted & graph.keys()]:
        for path in free:
            del graph[path]
    assert not {str(path.relative_to(ROOT)) for path in graph}


# Names of two files for one idea: its maths or its file, and what samples, shows or studies it.
IDEAS = {
    *("adapter", "base", "condition", "controlnet", "frontier", "guidance"),
    *("region", "resume", "view"),
}


def test_no_file_has_the_name_of_another_but_for_one_idea():
    names = [path.stem for part in (*FLOORS, *APART) for path in modules(ROOT / part)]
    often = {name for name in names if names.count(name) > 1 and not name.startswith("__")}
    assert often == IDEAS


# Rooms whose public functions say first what they return.
TOLD = ("local_control", "nodes", "training", "testbed", "demo", "lab", "benchmarks")


def public_functions(path: Path) -> Iterator[ast.FunctionDef]:
    """Functions of a module and methods of its classes that others call."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            members = [] if node.name.startswith("_") else node.body
        else:
            members = [node]
        for member in members:
            if isinstance(member, ast.FunctionDef) and not member.name.startswith("_"):
                yield member


@pytest.mark.parametrize("room", TOLD)
def test_public_functions_say_first_what_they_return(room):
    silent = [
        f"{path.relative_to(ROOT)} {function.name}"
        for path in modules(ROOT / room)
        for function in public_functions(path)
        if function.returns is not None and ast.unparse(function.returns) != "None"
        if not (ast.get_docstring(function) or "").startswith(("Return ", "Yield "))
    ]
    assert not silent


def flags(path: Path) -> Iterator[tuple[str, ast.AnnAssign]]:
    """The fields of settings classes, each of which is a flag of a command."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        bases = [ast.unparse(base) for base in getattr(node, "bases", ())]
        if isinstance(node, ast.ClassDef) and any(b.endswith(("Settings", "Flags")) for b in bases):
            for member in node.body:
                if isinstance(member, ast.AnnAssign) and "ClassVar" not in ast.unparse(member):
                    yield node.name, member


@pytest.mark.parametrize("room", FLOORS)
def test_every_flag_of_every_command_says_what_it_means(room):
    silent = [
        f"{name}.{ast.unparse(member.target)}"
        for path in modules(ROOT / room)
        for name, member in flags(path)
        if not any(
            isinstance(node, ast.keyword) and node.arg == "description" for node in ast.walk(member)
        )
    ]
    assert not silent
