"""The model card of a run, and its push to a hub that stands on this machine."""

import shlex

import pytest
import yaml
from fake_hub import fake_hub

from training.config.commands import read_settings
from training.config.run import TrainSettings
from training.loop.model_card import Made, model_card
from training.loop.parts import recipe_of
from training.loop.publish import PublishError, Repository
from training.loop.state import list_states

METADATA = {"local_control.condition": "canny", "local_control.method": "gated"}
METADATA |= {"local_control.steps": "6", "ss_seed": "0"}


@pytest.fixture
def hub(monkeypatch):
    with fake_hub(monkeypatch) as found:
        yield found


def card_of(settings, sheets=()):
    made = Made(METADATA, 5, 1, {"lowest held-out loss": 0.5}, sheets)
    return model_card(recipe_of(settings), made)


def repeated(card):
    """The settings that the command of a card names."""
    command = card.split("```sh\n")[1].split("\n```")[0]
    python, m, module, *flags = shlex.split(command.replace("\\\n", " "))
    assert (python, m, module) == ("python", "-m", "training.train")
    return read_settings(TrainSettings, flags)


def front_matter(card):
    return yaml.safe_load(card.split("---\n")[1])


def test_a_card_tells_its_story_and_no_paths(make_settings, tmp_path, base_folder, picture_folder):
    settings = make_settings(
        validation_prompt=("a, b",), validation_image=(str(tmp_path / "x.png"),)
    )
    card = card_of(settings, [tmp_path / "run" / "samples" / "step-00000006.png"])
    about = front_matter(card)
    assert about["pipeline_tag"] == "text-to-image"
    assert "base_model" not in about  # a folder is no name on the hub
    assert "license" not in about
    assert "| licence | not stated" in card
    assert "5 pictures, and 1 held out" in card
    assert "(samples/step-00000006.png)" in card
    assert "| ss_seed | 0 |" in card
    for path in (tmp_path, base_folder.parent, picture_folder.parent):
        assert str(path) not in card


def test_a_card_names_what_is_on_the_hub(make_settings):
    told = make_settings().model_dump(exclude_unset=True)
    del told["train_data_dir"]
    told |= {"pretrained_model_name_or_path": "somebody/base", "dataset_name": "some/pictures"}
    about = front_matter(card_of(TrainSettings(**told, license="openrail++")))
    assert about["base_model"] == "somebody/base"
    assert about["datasets"] == "some/pictures"
    assert about["license"] == "openrail++"


def test_a_card_tells_what_kind_of_control_it_is_of(make_settings):
    text = card_of(make_settings(control="controlnet"))
    assert "A ControlNet that controls one region" in text
    assert "`controlnet.safetensors`" in text
    assert "`ControlNetModel.from_pretrained`" in text
    assert "t2i-adapter" not in text.split("---")[1]


def test_the_command_of_a_card_is_the_run(make_settings):
    settings = make_settings(
        mask_shares={"box": 1.0, "full": 0.5},
        mask_features=False,
        validation_timesteps=(100, 200),
        validation_prompt=("a dog, it's running", 'a "cat"'),
        validation_image=("a.png", "b.png"),
    )
    again = repeated(card_of(settings))
    assert not again.differences(settings.resolved())
    assert again.validation_prompt == settings.validation_prompt
    assert again.validation_timesteps == settings.validation_timesteps


HUB_NAMES = {
    "pretrained_model_name_or_path": "somebody/base",
    "pretrained_vae_model_name_or_path": "somebody/vae",
    "dataset_name": "some/pictures",
}


def test_the_command_of_a_card_has_names_on_the_hub_whole():
    again = repeated(card_of(TrainSettings(**HUB_NAMES)))
    assert HUB_NAMES.items() <= again.resolved().items()
    single = {"pretrained_model_name_or_path": "x.safetensors", "base_config": "somebody/base"}
    assert repeated(card_of(TrainSettings(**HUB_NAMES | single))).base_config == "somebody/base"


@pytest.mark.parametrize("name", HUB_NAMES)
@pytest.mark.parametrize("path", ["/home/me/secret/x", "../secret/x", "secret/x.safetensors"])
def test_a_card_shows_no_path_in_place_of_a_name_on_the_hub(name, path):
    card = card_of(TrainSettings(**HUB_NAMES | {name: path}))
    assert "secret" not in card
    assert f"--{name} {path.rpartition('/')[2]}" in card


def test_a_finished_run_has_a_card_and_pushes_what_it_names(run, hub, tmp_path):
    flags = {"push_to_hub": True, "hub_token": "hf_secret", "hub_private_repo": True}
    run("mine", num_validation_images=1, **flags)
    folder = tmp_path / "mine"
    ((name, (asked, files)),) = hub.repositories.items()
    assert name == "somebody/mine"
    assert asked["private"] is True
    assert hub.tokens >= {"Bearer hf_secret"}
    assert files.keys() == {
        *("README.md", "adapter.safetensors", "best.safetensors"),
        "samples/step-00000006.png",
    }
    assert all((folder / path).read_bytes() == content for path, content in files.items())
    written = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert b"hf_secret" not in written


def test_a_push_that_fails_loses_nothing_and_is_made_again(
    run, hub, make_settings, tmp_path, monkeypatch
):
    flags = {"push_to_hub": True, "hub_model_id": "us/adapter"}
    hub.refuses = ("/commit/main",)
    with pytest.raises(PublishError, match="--resume_from_checkpoint latest pushes again"):
        run("mine", **flags)
    before = (tmp_path / "mine" / "adapter.safetensors").read_bytes()
    assert list_states(tmp_path / "mine")[-1].name == "state-00000006.safetensors"
    hub.refuses = ()
    monkeypatch.setattr("training.loop.trainer.Trainer.step", None)  # nothing is trained again
    run("mine", resume_from_checkpoint="latest", **flags)
    assert hub.repositories["us/adapter"][1]["adapter.safetensors"] == before


def test_a_hub_that_refuses_is_a_sentence_before_anything_is_made(run, hub, tmp_path):
    hub.refuses = ("/api/repos/create",)
    with pytest.raises(PublishError, match="gives no repository mine") as error:
        run("mine", push_to_hub=True)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("mine/*"))


def test_a_hub_that_is_not_there_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(PublishError, match="or go without --push_to_hub"):
        Repository("mine").open()
    with pytest.raises(PublishError, match="holds all of it, but it could not be pushed"):
        Repository("mine").push(tmp_path, [], "Step 1")


@pytest.mark.parametrize("flag", [{"hub_model_id": "a/b"}, {"hub_token": "x"}])
def test_what_is_for_a_push_needs_one(make_settings, flag):
    with pytest.raises(ValueError, match="needs --push_to_hub"):
        make_settings(**flag)
