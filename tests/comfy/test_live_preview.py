"""Pictures that are made beside the sampling."""

import threading

import torch
from PIL import Image
from watched import (
    sample,
    with_preview,
)


def test_sampling_does_not_wait_for_slow_pictures(comfy, model):
    live_preview = comfy.module("nodes.sampler.z0.live")
    gate, made, sent = threading.Event(), [], []

    def render(frame):
        if not made:
            gate.wait(60)  # the first picture takes until the last step
        made.append(frame)
        return Image.new("RGB", (8, 8))

    def send(step, steps, picture):
        sent.append((step, picture is not None))
        if step == steps - 1:
            gate.set()

    watched = with_preview(comfy, model, live_preview.LivePreview(render, send))
    assert torch.equal(sample(watched), sample(model))
    assert [step for step, _ in sent] == [1, 2, 3, 4, 4]
    assert not any(shown for _, shown in sent[:3])
    assert sent[-1][1] is True
    assert len(made) == 2  # the first and the last; those between were passed over


def test_the_end_waits_for_its_picture_for_a_moment_only(comfy, model, monkeypatch):
    live_preview = comfy.module("nodes.sampler.z0.live")
    monkeypatch.setattr(live_preview, "_PATIENCE", 0.05)
    gate, sent = threading.Event(), []
    live = live_preview.LivePreview(lambda frame: gate.wait(60), lambda *call: sent.append(call))
    live.show(0, 1, torch.zeros(1))
    live.finish()
    live.close()
    gate.set()
    assert sent == [(1, 1, None)]


def test_pictures_left_unfinished_never_run_beside_those_of_the_next_sampling(comfy, model):
    live_preview = comfy.module("nodes.sampler.z0.live")
    gate, running, most = threading.Event(), [], []

    def render(frame):
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
        sample(watched, steps=2)
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


def test_a_preview_that_fails_does_not_end_the_sampling(comfy, model, caplog):
    def broken(frame):
        raise RuntimeError("no picture")

    live = comfy.module("nodes.sampler.z0.live").LivePreview(broken, lambda *args: None)
    watched = with_preview(comfy, model, live)
    assert torch.equal(sample(watched), sample(model))
    assert "sampling goes on" in caplog.text
