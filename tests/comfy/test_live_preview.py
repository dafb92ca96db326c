"""Pictures that are made beside the sampling."""

import threading

import pytest
import torch
from PIL import Image
from watched import sample_model, with_preview


def test_sampling_does_not_wait_for_slow_pictures(comfy, model):
    live_preview = comfy.module("nodes.sampler.z0.live")
    gate, made, sent = threading.Event(), [], []

    def render(frame, step, steps):
        if not made:
            gate.wait(60)  # the first picture takes until the last step
        made.append(frame)
        return Image.new("RGB", (8, 8))

    def send(step, steps, picture):
        sent.append((step, picture is not None))
        if step == steps - 1:
            gate.set()

    watched = with_preview(comfy, model, live_preview.LivePreview(render, send))
    assert torch.equal(sample_model(watched), sample_model(model))
    assert [step for step, _ in sent] == [1, 2, 3, 4, 4]
    assert not any(shown for _, shown in sent[:3])
    assert sent[-1][1] is True
    assert len(made) == 2  # the first and the last; those between were passed over


def test_the_end_waits_for_its_picture_for_a_moment_only(comfy, model, monkeypatch):
    live_preview = comfy.module("nodes.sampler.z0.live")
    monkeypatch.setattr(live_preview, "_PATIENCE", 0.05)
    gate, sent = threading.Event(), []
    live = live_preview.LivePreview(lambda *frame: gate.wait(60), lambda *call: sent.append(call))
    live.show(0, 1, torch.zeros(1))
    live.finish()
    live.close()
    gate.set()
    assert sent == [(1, 1, None)]


def test_pictures_left_unfinished_never_run_beside_those_of_the_next_sampling(comfy, model):
    live_preview = comfy.module("nodes.sampler.z0.live")
    gate, running, most = threading.Event(), [], []

    def render(frame, step, steps):
        running.append(frame)
        most.append(len(running))
        gate.wait(60)
        running.pop()
        return Image.new("RGB", (8, 8))

    class Impatient(live_preview.LivePreview):
        def finish(self):
            """Does not wait."""

    watched = with_preview(comfy, model, Impatient(render, lambda *call: None))
    for _ in range(3):
        sample_model(watched, steps=2)
    gate.set()
    live_preview._WORKER.submit(lambda: None).result(60)
    assert most == [1]  # the others were given up before they began


def test_pictures_that_wait_behind_an_earlier_samplings_are_given_up(comfy, monkeypatch):
    live_preview = comfy.module("nodes.sampler.z0.live")
    monkeypatch.setattr(live_preview, "_PATIENCE", 0.05)
    gate, made = threading.Event(), []
    live_preview._WORKER.submit(gate.wait, 60)
    live = live_preview.LivePreview(made.append, lambda *call: None)
    for step in range(3):
        live.show(step, 3, torch.tensor(step))
    live.finish()
    live.close()
    gate.set()
    live_preview._WORKER.submit(lambda: None).result(60)
    assert made == []


def test_a_preview_that_fails_is_logged_once_and_does_not_end_the_sampling(comfy, model, caplog):
    live_preview = comfy.module("nodes.sampler.z0.live")
    tried, sent = [], []

    def broken(frame, step, steps):
        tried.append(frame)
        raise RuntimeError("no picture")

    def send(step, steps, picture):
        live_preview._WORKER.submit(lambda: None).result(60)  # each has been tried by then
        sent.append(picture)

    watched = with_preview(comfy, model, live_preview.LivePreview(broken, send))
    assert torch.equal(sample_model(watched, steps=8), sample_model(model, steps=8))
    assert caplog.text.count("sampling goes on") == 1
    assert len(tried) == 1
    assert sent == [None] * 8  # the bar goes on


def test_a_picture_that_cannot_be_sent_is_logged_once(comfy, model, caplog):
    def send(step, steps, picture):
        raise ConnectionError("nobody listens")

    live = comfy.module("nodes.sampler.z0.live").LivePreview(lambda *frame: None, send)
    assert torch.equal(sample_model(with_preview(comfy, model, live)), sample_model(model))
    assert caplog.text.count("sampling goes on") == 1


@pytest.fixture
def cancel(comfy):
    """Press Cancel, and wait until the preview's thread has done what it is at."""
    import comfy.model_management as management

    pressed = threading.Event()

    def press():
        management.interrupt_current_processing(True)
        pressed.set()
        comfy.module("nodes.sampler.z0.live")._WORKER.submit(lambda: None).result(60)

    press.pressed = pressed
    yield press
    management.interrupt_current_processing(False)


def taking(cancel):
    """A picture that is drawn while Cancel is pressed, by layers that look for it."""
    import comfy.model_management as management

    def render(frame, step, steps):
        cancel.pressed.wait(60)
        management.throw_exception_if_processing_interrupted()
        return Image.new("RGB", (8, 8))

    return render


@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_cancel_that_the_previews_thread_takes_ends_the_run(comfy, model, cancel, caplog, at):
    import comfy.model_management as management

    live = comfy.module("nodes.sampler.z0.live").LivePreview(taking(cancel), lambda *call: None)
    watched, seen = with_preview(comfy, model, live), []

    def callback(step, x0, x, steps):
        seen.append(step)
        if step == at:
            cancel()

    with pytest.raises(management.InterruptProcessingException):
        sample_model(watched, callback=callback)
    assert seen == list(range(at + 1))
    assert not management.processing_interrupted()  # the run that it was meant for has taken it
    assert caplog.text == ""


def test_a_cancel_taken_by_a_picture_of_an_earlier_prompt_ends_the_run(comfy, model, cancel):
    import comfy.model_management as management

    live_preview = comfy.module("nodes.sampler.z0.live")
    left_over = live_preview.LivePreview(taking(cancel), lambda *call: None)
    left_over.show(0, 1, torch.zeros(1))
    left_over.close()
    live = live_preview.LivePreview(lambda *frame: Image.new("RGB", (8, 8)), lambda *call: None)
    with pytest.raises(management.InterruptProcessingException):
        sample_model(with_preview(comfy, model, live), callback=lambda *call: cancel())
