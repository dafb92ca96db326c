"""The timeline on z0' Frames: looked through, played, and asked when control should end."""

import pytest
from comfy_page import RENDERERS, crowded, node_id, open_template, run, set_widget

TEMPLATE, STEPS, LEAST_GAP = "04_watch_and_time_demo", 5, 38
PIXELS = """canvas => [...canvas.getContext("2d")
    .getImageData(0, 0, canvas.width, canvas.height).data].join()"""
RANGE = """id => ["start_percent", "end_percent"].map(name =>
    window.app.graph.getNodeById(id).widgets.find(w => w.name === name).value)"""


@pytest.fixture(params=RENDERERS)
def renderer(request):
    return request.param


@pytest.fixture
def opened(open_page, renderer):
    """A page with the timeline of a run."""
    page = open_page(renderer)
    open_template(page, TEMPLATE)
    set_widget(page, "KSampler", "steps", STEPS)
    run(page)
    page.locator(".local-control-timeline canvas").wait_for()
    page.evaluate(
        """() => {
            const node = window.app.graph._nodes.find(n => n.type === "LocalControl_Z0Frames");
            window.app.canvas.ds.scale = 1;
            window.app.canvas.ds.offset = [600 - node.pos[0], 200 - node.pos[1]];
            window.app.canvas.setDirty(true, true);
        }"""
    )
    page.wait_for_timeout(500)
    return page


def scrub(timeline, step):
    """Move the scrubber to a step, from 1."""
    timeline.locator("input[type=range]").evaluate(
        "(s, at) => { s.value = at - 1; s.dispatchEvent(new Event('input')); }", step
    )


def test_every_step_has_its_picture_its_errors_and_its_place_in_time(opened, screenshots, renderer):
    assert crowded(opened, LEAST_GAP) == []
    timeline = opened.locator(".local-control-timeline")
    pictures = set()
    for step in range(1, STEPS + 1):
        scrub(timeline, step)
        words = timeline.inner_text()
        assert f"Step {step} of {STEPS}. Edge error inside " in words
        assert " outside " in words
        pictures.add(timeline.locator("canvas").evaluate(PIXELS))
    assert len(pictures) == STEPS
    assert "end_percent 1." in words
    opened.screenshot(path=screenshots / f"timeline_{renderer}.png")


def test_play_goes_through_the_steps_to_the_last(opened):
    timeline = opened.locator(".local-control-timeline")
    scrub(timeline, 2)
    timeline.get_by_text("Play", exact=True).click()
    timeline.get_by_text("Pause", exact=True).wait_for()
    timeline.get_by_text(f"Step {STEPS} of {STEPS}").wait_for(timeout=30_000)
    timeline.get_by_text("Play", exact=True).wait_for()


def test_a_click_on_a_step_tells_when_control_ends_and_sets_it_in_a_region(opened, renderer):
    timeline = opened.locator(".local-control-timeline")
    chart = timeline.locator("svg")
    box = chart.bounding_box()
    chart.click(position={"x": box["width"] * 2 / (STEPS - 1), "y": box["height"] / 2})
    words = timeline.inner_text()
    assert f"Step 3 of {STEPS}." in words
    end = float(words.split("end_percent ")[1].split(". ")[0])
    start = float(words.split("start_percent ")[1].split(".\n")[0].rstrip("."))
    assert 0 < start < end < 1
    region = node_id(opened, "LocalControl_Region")
    choice = timeline.locator("select")
    assert choice.evaluate("s => s.selectedOptions[0].textContent").endswith(f"#{region}")
    timeline.get_by_text("Set end_percent").click()
    assert opened.evaluate(RANGE, region) == [0, end]
    timeline.get_by_text("Set start_percent").click()
    assert opened.evaluate(RANGE, region) == [start, end]
    run(opened)


def test_the_timeline_is_there_again_when_its_workflow_is_shown_again(open_page):
    opened = open_page("classic")
    open_template(opened, TEMPLATE)
    set_widget(opened, "KSampler", "steps", 2)
    run(opened)
    words = opened.locator(".local-control-timeline .step").text_content()
    execute = "(name) => window.app.extensionManager.command.execute(name)"
    opened.evaluate(execute, "Comfy.NewBlankWorkflow")
    opened.wait_for_function("window.app.graph._nodes.length === 0")
    opened.wait_for_timeout(1500)  # until the page knows which workflow was open before
    opened.evaluate(execute, "Workspace.PreviousOpenedWorkflow")
    opened.locator(".local-control-timeline .step").wait_for(state="attached")
    assert opened.locator(".local-control-timeline .step").text_content() == words


def test_the_timeline_of_a_cached_run_is_there_after_the_page_was_loaded_again(open_page):
    def open_and_run(page):
        open_template(page, TEMPLATE)
        set_widget(page, "KSampler", "steps", 2)
        set_widget(page, "KSampler", "seed", 104)  # that no other test has run before
        live = run(page)
        return live, page.locator(".local-control-timeline .step").inner_text()

    live, words = open_and_run(open_page("classic"))
    assert live
    assert open_and_run(open_page("classic")) == ([], words)
