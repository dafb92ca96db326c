"""Settings from presets, TOML files and flags, and what is refused."""

import re

import pytest

from demo.canny import EDGES
from training.config.commands import SettingsError, read_settings
from training.config.run import PRESETS, TrainSettings
from training.evaluate import EvaluateSettings
from training.export import ExportSettings

NEEDED = ("--pretrained_model_name_or_path", "base", "--train_data_dir", "pictures")


def read(*flags):
    return read_settings(TrainSettings, [*NEEDED, *flags])


@pytest.mark.parametrize("preset", sorted(path.stem for path in PRESETS.glob("*.toml")))
def test_presets_are_valid_and_give_way_to_flags(preset):
    assert read("--config", preset, "--seed", "9").seed == 9


@pytest.mark.parametrize("preset", sorted(path.stem for path in PRESETS.glob("*.toml")))
def test_presets_have_the_memory_layout_that_convolutions_prefer(preset):
    assert read("--config", preset).channels_last


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
        (["--seed", str(2**64)], "--seed is"),
        (["--num_inference_steps", "1001"], "--num_inference_steps is"),
        (["--config", "nothing"], "no such preset"),
        (["--dataset_name", "x"], "one of --train_data_dir, --dataset_name"),
        (["--resolution", "500"], "multiple of 64"),
        (["--mask_shares", "blob=1"], "not blob"),
        (["--mask_source", "full", "--mask_shares", "box=1"], "drop --mask_shares"),
        (["--invert_masks"], "needs masks"),
        (["--lr_warmup_steps", "9", "--max_train_steps", "5"], "more than --max_train_steps"),
        (["--optimizer", "adamw_8bit", "--fused"], "drop one of the two"),
        (["--use_8bit_adam", "--fused"], "drop one of the two"),
        (["--use_8bit_adam", "--optimizer", "lion"], "not lion; drop one"),
        (["--optimizer", "prodigy"], "give 1, not 0.0001"),
        (["--validation_prompt", "a", "b", "--validation_image", "c.png"], "as many pictures"),
        (["--validation_prompt", "a"], "as many pictures"),
        (
            ["--validation_image", "a", "--validation_prompt", "b", "--validation_mask", "c", "d"],
            "a mask for each picture",
        ),
        (["--hub_model_id", "a/b"], "needs --push_to_hub"),
        (["--max_train_steps", "9", "--num_train_epochs", "5"], "either --max_train_steps or"),
        (["--coco_captions", "x.json"], "needs --coco_instances"),
        (["--dataset_config_name", "x"], "needs --dataset_name"),
        (["--proportion_empty_prompts", "2"], "--proportion_empty_prompts is"),
        (["--crop_variants", "0"], "--crop_variants is"),
        (["--resolution", "0"], "--resolution is"),
        (["--learning_rate", "-1"], "--learning_rate is"),
        (["--adam_beta2", "2"], "--adam_beta2 is"),
        (["--seed", "-1"], "--seed is"),
        (["--snr_gamma", "-1"], "--snr_gamma is"),
        (["--max_grad_norm", "0"], "--max_grad_norm is"),
        (["--colour_blocks", "0"], "--colour_blocks is"),
        (["--mask_shares", "box=nan"], "finite number"),
        (["--mask_shares", "box"], "--mask_shares cannot be read"),
        (["--learning_rate", "inf"], "finite number"),
        (["--z0_loss_weight", "1e400"], "finite number"),
        (["--snr_gamma", "nan"], "finite number"),
        (["--max_grad_norm", "nan"], "--max_grad_norm is"),
        (["--base_config", "configs"], "one .safetensors file"),
        (["--validation_timesteps", "100,1000"], r"--validation_timesteps\.1 is 1000"),
        (["--canny_low", "300"], "--canny_low 300 is more than --canny_high 200"),
        (["--mask_shares", "box=0,full=0"], "one of them more"),
        (["--mask_shares", "box=2,full=-1"], "at least 0"),
        (["--mask_source", "random", "--mask_shares", "exact=1"], "drop exact"),
        (["--mask_source", "dataset", "--mask_shares", "exact=1,box=1"], "drop box"),
        (["--coco_instances", "x.json", "--mask_column", "mask"], "drop --mask_column"),
        (
            ["--coco_instances", "x.json", "--conditioning_image_column", "edges"],
            "drop --conditioning_image_column",
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(flags, message):
    with pytest.raises(SystemExit, match=message) as error:
        read(*flags)
    assert "\n" not in str(error.value)


def test_gradients_may_be_left_unclipped():
    assert read("--max_grad_norm", "inf").max_grad_norm == float("inf")


def test_prompts_are_whole_arguments_and_lists_in_files(tmp_path):
    given = ["--validation_prompt", "a dog, running", 'the "best" cat', "--seed", "3"]
    given += ["--validation_image", "a.png", "--validation_image=b,c.png", "--no-fused"]
    settings = read(*given)
    assert settings.validation_prompt == ("a dog, running", 'the "best" cat')
    assert settings.validation_image == ("a.png", "b,c.png")
    assert (settings.seed, settings.fused) == (3, False)
    (tmp_path / "settings.toml").write_text(
        'validation_prompt = ["one, two"]\nvalidation_image = ["a.png"]'
    )
    assert read("--config", str(tmp_path / "settings.toml")).validation_prompt == ("one, two",)


def test_a_flag_sets_aside_what_a_preset_says_of_its_alternative():
    assert read("--config", "demo", "--num_train_epochs", "2").num_train_epochs == 2
    told = read("--config", "demo", "--num_train_epochs", "2").settled(1, 700)
    assert (told.max_train_steps, told.num_train_epochs) == (1400, None)


@pytest.mark.parametrize(
    "flags",
    [
        ["--mask_shares", "ellipse=1"],
        ["--mask_source", "full"],
        ["--mask_source", "dataset", "--mask_shares", "exact=1"],
    ],
)
def test_a_flag_of_masks_takes_the_place_of_what_a_preset_says(flags):
    assert read("--config", "paper", *flags).mask_shares == read(*flags).mask_shares


def test_epochs_that_are_shorter_than_the_warm_up_are_refused():
    with pytest.raises(SettingsError, match=r"^2 epochs are 20 steps\. --lr_warmup_steps 500"):
        read("--num_train_epochs", "2").settled(1, 10)


def test_the_learning_rate_is_scaled_once_by_the_global_batch():
    flags = ["--scale_lr", "--learning_rate", "1e-4", "--train_batch_size", "4"]
    told = read(*flags, "--gradient_accumulation_steps", "3").settled(2)
    assert told.learning_rate == pytest.approx(24e-4)
    assert told.settled(2).learning_rate == told.learning_rate


def test_accelerates_own_precision_counts_where_no_flag_or_file_names_one(monkeypatch, caplog):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert read().settled(1).mixed_precision == "bf16"
    assert not caplog.text
    assert read("--mixed_precision", "no").settled(1).mixed_precision == "no"
    assert "--mixed_precision no counts" in caplog.text
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp8")
    with pytest.raises(SettingsError, match="add --mixed_precision bf16"):
        read().settled(1)


def test_coco_is_a_folder_of_files():
    with pytest.raises(SystemExit, match="drop --dataset_name"):
        read_settings(
            TrainSettings, [*NEEDED[:2], "--dataset_name", "x", "--coco_instances", "x.json"]
        )


def test_settings_are_read_again_whatever_the_encoding_of_the_system(tmp_path, monkeypatch):
    monkeypatch.setattr("locale.getpreferredencoding", lambda *_: "cp1252")
    monkeypatch.setattr("locale.getencoding", lambda: "cp1252")
    folder = tmp_path / "J\u00f6rg \u7d75"
    read("--output_dir", str(folder)).write()
    assert read("--config", str(folder / "config.toml")).output_dir == folder


def test_a_run_with_another_optimizer_can_be_repeated_from_its_file(tmp_path):
    settings = read("--output_dir", str(tmp_path), "--optimizer", "adamw_8bit")
    settings.write()
    again = read_settings(TrainSettings, ["--config", str(tmp_path / "config.toml")])
    assert again.resolved() == settings.resolved()
    assert not again.differences(settings.resolved())


@pytest.mark.parametrize(
    "flags",
    [
        ["--optimizer", "adamw"],
        ["--optimizer", "adafactor"],
        ["--use_8bit_adam"],
        ["--optimizer", "adamw", "--fused"],
    ],
)
@pytest.mark.parametrize("before", [[], ["--optimizer", "adafactor"], ["--use_8bit_adam"]])
def test_a_run_can_be_repeated_from_its_file_with_another_optimizer(tmp_path, before, flags):
    read("--output_dir", str(tmp_path), *before).write()
    again = read_settings(TrainSettings, ["--config", str(tmp_path / "config.toml"), *flags])
    alone = read("--output_dir", str(tmp_path), *flags)
    assert (again.chosen_optimizer(), again.fused) == (alone.chosen_optimizer(), alone.fused)


def test_a_run_that_is_not_fused_is_so_when_repeated(tmp_path):
    read("--output_dir", str(tmp_path), "--no-fused").write()
    config = str(tmp_path / "config.toml")
    again = read_settings(TrainSettings, ["--config", config, "--optimizer", "adamw"])
    assert not again.fused


def test_unknown_keys_of_a_file_are_refused(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text("lerning_rate = 1")
    with pytest.raises(SystemExit, match="'lerning_rate'"):
        read("--config", str(path))
    path.write_text("seed = " + "[" * 10**5)
    with pytest.raises(SystemExit, match="is no TOML: it is nested too deep"):
        read("--config", str(path))
    path.write_text("seed = ")
    with pytest.raises(SystemExit, match="is no TOML"):
        read("--config", str(path))
    path.write_text('config = "demo"')
    with pytest.raises(SystemExit, match="names a config of its own"):
        read("--config", str(path))


def test_a_missing_base_is_named():
    with pytest.raises(SystemExit, match="--pretrained_model_name_or_path is missing"):
        read_settings(TrainSettings, ["--train_data_dir", "pictures"])


@pytest.mark.parametrize("kind", [TrainSettings, EvaluateSettings, ExportSettings])
def test_help_tells_what_every_flag_means(kind, capsys):
    with pytest.raises(SystemExit) as stop:
        read_settings(kind, ["--help"])
    assert stop.value.code == 0
    told = capsys.readouterr().out
    for name, field in kind.model_fields.items():
        assert re.search(rf"^  --(\[no-\])?{name}\b", told, re.MULTILINE), name
        assert field.description, name
        assert field.description.split()[0] in told
    assert max(map(len, told.splitlines())) <= 100


def test_help_stands_in_groups(capsys):
    with pytest.raises(SystemExit):
        read_settings(TrainSettings, ["--help"])
    titles = re.findall(r"^(\w.*):$", capsys.readouterr().out, re.MULTILINE)
    assert titles[1:5] == ["Base model", "What is trained", "Data set", "Data"]
    assert len(titles) == 10
