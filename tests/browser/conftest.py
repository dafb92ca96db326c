"""A real Chromium on a real ComfyUI with the demo family and random weights."""

import os
import shutil

import pytest
import requests
from comfy_page import button
from demo_server import make_workspace
from playwright.sync_api import sync_playwright

from testbed.comfyui import BUILD
from testbed.server import ComfyServer

SCREENSHOTS = BUILD / "screenshots"
OURS = "extensions/local_control"
RUN = {"en": "Run", "es": "Ejecutar", "fr": "Exécuter"}


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium; CHROMIUM names one that is not on the path."""
    found = os.environ.get("CHROMIUM") or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if found is None:
        pytest.skip("there is no Chromium: install one, or name it in CHROMIUM")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=flags)
        yield running
        running.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory, browser):
    with ComfyServer(make_workspace(tmp_path_factory.mktemp("browser"))) as running:
        yield running


@pytest.fixture(scope="session")
def screenshots():
    """Where pictures of what was tested are kept, to be looked at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    return SCREENSHOTS


@pytest.fixture
def open_page(server, browser):
    """A function from a way of drawing nodes to a page that has ComfyUI open in it."""
    contexts, errors = [], []

    # The frontend has errors of its own; ours come from our scripts.
    def note(error):
        if OURS in (error.stack or ""):
            errors.append(error.message)

    def note_line(line):
        # It looks for a help page in its own language first.
        place = line.location.get("url", "")
        if line.type == "error" and OURS in place + line.text and not place.endswith(".md"):
            errors.append(f"{line.text} ({place})")

    def open_with(renderer, locale="en"):
        set_up(server, "Comfy.TutorialCompleted", True)
        set_up(server, "Comfy.Locale", locale)
        set_up(server, "Comfy.VueNodes.Enabled", renderer == "nodes2")
        context = browser.new_context(viewport={"width": 1800, "height": 1000})
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", note)
        page.on("console", note_line)
        page.goto(server.url)
        page.wait_for_function("window.app && window.app.graph && window.app.graph._nodes")
        button(page, RUN[locale]).wait_for(timeout=60_000)
        return page

    yield open_with
    for context in contexts:
        context.close()
    assert not errors


@pytest.fixture
def page(open_page):
    return open_page("classic")


def set_up(server, setting, value):
    url = f"{server.url}/api/settings/{setting}"
    requests.post(url, json=value, timeout=30).raise_for_status()
