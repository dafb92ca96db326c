"""The pictures of training/README.md are made of what a run writes."""

from PIL import Image
from small_runs import train_to_bytes

from lab.make.first_hour import CURVES, draw, read_curves


def test_what_there_is_to_look_at_is_drawn(make_settings, monkeypatch, tmp_path):
    monkeypatch.setattr("training.loop.trainer._LOG_STEPS", 2)
    settings = make_settings(num_validation_images=1, report_to="tensorboard", validation_steps=3)
    train_to_bytes(settings)
    curves = read_curves(settings.output_dir)
    assert [step for step, _ in curves["validation/loss"]] == [0, 3, 6]
    assert all(len(curves[name]) > 1 for name in CURVES)
    draw(settings.output_dir, tmp_path / "drawn")
    assert Image.open(tmp_path / "drawn" / "overlay.jpg").size == (4 * 64, 2 * 64)
    for name in ("before", "sheet"):
        assert Image.open(tmp_path / "drawn" / f"{name}.jpg").size == (4 * 64, 20 + 64)
    assert Image.open(tmp_path / "drawn" / "curves.png").width == 10 * 80
