"""What the documents at the top point to is there."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from testbed.pack import shipped_files

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "training/*.md", "lab/*.md", "demo/weights/*.md")
    for path in ROOT.glob(pattern)
)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_and_pictures_are_there(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#\s]+)", text)
    inside = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert [link for link in inside if not ((ROOT / name).parent / link).exists()] == []


def test_the_readme_of_the_archive_has_its_pictures_and_links():
    """What the archive lacks is linked to in the repository, by the workflow that publishes."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shipped = {path.as_posix() for path in shipped_files()}
    pictures = re.findall(r"!\[.*?\]\(([^)]+)", text)
    assert len(pictures) >= 4
    assert set(pictures) <= shipped
    links = set(re.findall(r"\]\(([^)#]+)", text)) - shipped
    dead = [link for link in links if not re.match(r"https:|training/|CONTRIBUTING", link)]
    assert not dead
    workflow = (ROOT / ".github" / "workflows" / "publish.yml").read_text(encoding="utf-8")
    assert "(training/|CONTRIBUTING)" in workflow


def test_the_readme_is_one_page_in_this_order():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == [
        "Install",
        "First workflow",
        "Nodes",
        "What can be gated",
        "Training",
        "Results",
        "Limits",
        "Development",
    ]
    assert len(text.split()) < 1500


def test_pictures_of_the_documents_are_small():
    pictures = [*(ROOT / "docs" / "pictures").iterdir(), *(ROOT / "web" / "docs").glob("*.webp")]
    assert sum(path.stat().st_size for path in pictures) < 600_000


def test_every_node_of_the_readme_has_a_help_page():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.split("| --- | --- |")[1].split("\n\n")[0]
    named = {row.split("|")[1].strip(" *") for row in table.strip().splitlines()}
    pages = (ROOT / "web" / "docs").glob("*.md")
    assert named == {page.read_text(encoding="utf-8").splitlines()[0][2:] for page in pages}


def test_contributing_names_files_that_there_are():
    """A file named without its folder stands in that of the one before it."""
    folder, missing = ROOT, []
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for name in re.findall(r"`([\w./-]+(?:/|\.py|\.md|\.toml))`", text):
        whole = ROOT / name
        if "/" in name.rstrip("/") or not (folder / name).exists():
            folder = whole if name.endswith("/") else whole.parent
        else:
            whole = folder / name
        if not whole.exists() and name != "build/":  # which is made
            missing.append(name)
    assert not missing


@pytest.mark.parametrize("room", ["local_control", "nodes", "training", "testbed", "demo", "lab"])
def test_contributing_tells_of_every_room(room):
    assert f"`{room}/`" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_registry_finds_what_it_asks_for():
    about = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    urls, comfy = about["project"]["urls"], about["tool"]["comfy"]
    assert {"Repository", "Documentation", "Bug Tracker"} <= urls.keys()
    assert {"PublisherId", "DisplayName", "Icon", "Banner", "includes"} <= comfy.keys()
    for picture in (comfy["Icon"], comfy["Banner"]):
        assert (ROOT / picture.split("/main/")[1]).is_file()
    required = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    packages = [line for line in required if not line.startswith("#")]
    assert packages == about["project"]["dependencies"]
    assert "opencv" not in "".join(packages)


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda p: p.name)
def test_forms_and_workflows_of_the_repository_can_be_read(path):
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.parent.name == "ISSUE_TEMPLATE" and path.stem != "config":
        assert {"name", "description", "body"} <= found.keys()
        ids = [field["id"] for field in found["body"]]
        assert len(ids) == len(set(ids))
        assert any(field.get("validations", {}).get("required") for field in found["body"])


def test_the_table_of_gates_names_tests_that_there_are():
    text = (ROOT / "docs" / "GATES.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+\.py)`", text))
    assert len(named) > 5
    assert [name for name in sorted(named) if not (ROOT / "tests" / "comfy" / name).is_file()] == []
    for node in re.findall(r"Gate [A-Z]\w+(?: [A-Z]\w+)?", text):
        pages = [p.read_text(encoding="utf-8") for p in (ROOT / "web" / "docs").glob("*.md")]
        assert any(page.startswith(f"# {node}\n") for page in pages), node
