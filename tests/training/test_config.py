"""Settings from presets, TOML files and flags, and what is refused."""

import pytest

from demo.cases import EDGES
from training.config import PRESETS, TrainSettings
from training.settings import read_settings

NEEDED = ("--pretrained_model_name_or_path", "base", "--train_data_dir", "pictures")


def read(*flags):
    return read_settings(TrainSettings, [*NEEDED, *flags])


@pytest.mark.parametrize("preset", sorted(path.stem for path in PRESETS.glob("*.toml")))
def test_presets_are_valid_and_give_way_to_flags(preset):
    assert read("--config", preset, "--seed", "9").seed == 9


def test_the_presets_that_are_promised_are_there():
    names = {path.stem for path in PRESETS.glob("*.toml")}
    assert names >= {"sd15_canny", "sd15_color", "sdxl_canny", "paper", "demo"}


def test_the_demo_measures_with_the_edges_that_its_adapters_read():
    assert read("--config", "demo").made_condition() == EDGES


def test_what_is_written_is_read_again(tmp_path):
    settings = read("--output_dir", str(tmp_path), "--mask_shares", "box=1,full=0.5")
    settings.write()
    again = read_settings(TrainSettings, ["--config", str(tmp_path / "config.toml")])
    assert again.resolved() == settings.resolved()
    assert again.mask_shares == {"box": 1.0, "full": 0.5}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--sede", "3"], "unrecognized arguments: --sede"),
        (["--seed", "x"], "--seed is 'x'"),
        (["--config", "nothing"], "no such preset"),
        (["--dataset_name", "x"], "either --train_data_dir or --dataset_name"),
        (["--resolution", "500"], "multiple of 64"),
        (["--mask_shares", "blob=1"], "not blob"),
        (["--mask_source", "full", "--mask_shares", "box=1"], "drop --mask_shares"),
        (["--invert_masks"], "needs masks"),
        (["--lr_warmup_steps", "9", "--max_train_steps", "5"], "more than --max_train_steps"),
        (["--optimizer", "adamw_8bit", "--fused"], "drop one of the two"),
        (["--coco_captions", "x.json"], "needs --coco_instances"),
        (["--proportion_empty_prompts", "2"], "--proportion_empty_prompts is"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(flags, message):
    with pytest.raises(SystemExit, match=message) as error:
        read(*flags)
    assert "\n" not in str(error.value)


def test_unknown_keys_of_a_file_are_refused(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text("lerning_rate = 1")
    with pytest.raises(SystemExit, match="'lerning_rate'"):
        read("--config", str(path))
    path.write_text("seed = ")
    with pytest.raises(SystemExit, match="is no TOML"):
        read("--config", str(path))


def test_a_missing_base_is_named():
    with pytest.raises(SystemExit, match="--pretrained_model_name_or_path is missing"):
        read_settings(TrainSettings, ["--train_data_dir", "pictures"])
