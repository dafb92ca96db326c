"""ControlNets instead of adapters: what is trained, written, gone on with, compared, refused."""

import json
import sys

import pytest
import torch
from diffusers import ControlNetModel
from prepared import trainer_of
from safetensors.torch import load_file, save_file
from small_base import small_sd, small_sdxl

from local_control.checkpoint import AdapterFileError
from local_control.control_file import read_control
from local_control.controlnet import read_controlnet
from training import evaluate, export
from training.config.commands import read_settings
from training.config.run import TrainSettings
from training.loop.control_files import write_diffusers, write_file
from training.loop.parts import control_of
from training.loop.prepare import open_base
from training.loop.resume import ResumeError
from training.loop.state import list_states
from training.loop.trained import read_trained
from training.models.denoise import predict

SMALL = {"control": "controlnet", "max_train_steps": 3, "checkpointing_steps": 1}


@pytest.fixture(scope="module")
def folders(tmp_path_factory, base_folder):
    """Bases of three families: SD1.5, SD2 (which predicts v here) and SDXL."""
    return {
        "sd15": base_folder,
        "sd2": small_sd(tmp_path_factory.mktemp("v"), "v_prediction"),
        "sdxl": small_sdxl(tmp_path_factory.mktemp("sdxl")),
    }


@pytest.fixture
def learnt(run, tmp_path):
    """The file of a run of a few steps."""
    run(**SMALL)
    return tmp_path / "run" / "controlnet.safetensors"


def asked(control, base, mask, condition=None, batch=2):
    """A control's prediction for a fixed latent, and what the base predicts alone."""
    generator = torch.Generator().manual_seed(0)
    z_t = torch.randn(batch, 4, 8, 8, generator=generator)
    width = base.unet.config["cross_attention_dim"]
    context = torch.randn(batch, 7, width, generator=generator)
    added = None
    if base.is_xl:
        pooled = torch.randn(batch, 24, generator=generator)
        added = {"text_embeds": pooled, "time_ids": torch.zeros(batch, 6)}
    if condition is None:
        condition = torch.rand(batch, 1, 64, 64, generator=generator)
    t = torch.full((batch,), 400)
    acting = control.on(condition, mask)
    with torch.no_grad():
        one = predict(base.unet, z_t, t, context, acting, added)
        return one, predict(base.unet, z_t, t, context, None, added)


def awake(control):
    """The same control with maps that are not zero, as they are before the first step."""
    generator = torch.Generator().manual_seed(1)
    last = [*control.network.controlnet_down_blocks, control.network.controlnet_mid_block]
    with torch.no_grad():
        for block in last:
            block.weight.copy_(torch.randn(block.weight.shape, generator=generator) * 0.1)
            block.bias.fill_(0.1)
    return control


@pytest.mark.parametrize("family", ["sd15", "sd2", "sdxl"])
def test_it_learns_and_its_base_does_not(make_settings, folders, tmp_path, family):
    name = {"pretrained_model_name_or_path": str(folders[family])}
    trainer = trainer_of(make_settings(**SMALL, **name, num_validation_images=1, use_ema=True))
    base = {key: value.clone() for key, value in trainer.base.unet.state_dict().items()}
    start = [p.detach().clone() for p in trainer.control.network.parameters()]
    path = trainer.run()
    assert path.name == "controlnet.safetensors"
    after = trainer.base.unet.state_dict()
    assert all(torch.equal(after[key], value) for key, value in base.items())
    moved = [
        not torch.equal(a, b)
        for a, b in zip(trainer.control.network.parameters(), start, strict=True)
    ]
    assert all(moved)
    assert (tmp_path / "run" / "samples" / "step-00000003.png").is_file()


def test_it_begins_as_a_copy_of_the_base_that_changes_nothing(make_settings):
    settings = make_settings(control="controlnet")
    base = open_base(settings)
    control = control_of(settings, base)
    copied = control.network.down_blocks.state_dict()
    assert all(torch.equal(v, copied[k]) for k, v in base.unet.down_blocks.state_dict().items())
    one, alone = asked(control, base, torch.ones(1, 1, 64, 64))
    assert torch.equal(one, alone)


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_the_mask_decides_where_it_acts(make_settings, folders, family):
    settings = make_settings(
        control="controlnet", pretrained_model_name_or_path=str(folders[family])
    )
    base = open_base(settings)
    control = awake(control_of(settings, base))
    black, white = torch.zeros(1, 1, 64, 64), torch.ones(1, 1, 64, 64)
    left, top = black.clone(), black.clone()
    left[..., :32], top[..., :32, :] = 1, 1
    nothing, alone = asked(control, base, black)
    assert torch.equal(nothing, alone)
    whole, _ = asked(control, base, white)
    assert torch.equal(whole, asked(control, base, None)[0])
    assert not torch.equal(whole, alone)
    assert not torch.equal(asked(control, base, left)[0], asked(control, base, top)[0])


def test_every_map_is_gated_at_its_own_resolution(make_settings):
    settings = make_settings(control="controlnet")
    base = open_base(settings)
    control = awake(control_of(settings, base))
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :32] = 1
    z_t, context = torch.randn(1, 4, 8, 8), torch.randn(1, 7, 16)
    condition = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        found = control.on(condition, mask)(z_t, torch.tensor([5]), context, None)
        whole = control.on(condition)(z_t, torch.tensor([5]), context, None)
    maps, all_maps = (
        [*each["down_block_additional_residuals"], each["mid_block_additional_residual"]]
        for each in (found, whole)
    )
    assert len(maps) == 13
    for one, other in zip(maps, all_maps, strict=True):
        middle = one.shape[-1] // 2
        assert torch.equal(one[..., :middle], other[..., :middle])
        if one.shape[-1] > 1:
            assert not one[..., middle:].any()
        else:  # one cell, half of it covered
            torch.testing.assert_close(one, other / 2)


def test_a_gray_condition_is_read_as_a_gray_picture(make_settings):
    settings = make_settings(control="controlnet")
    base = open_base(settings)
    control = awake(control_of(settings, base))
    gray = torch.rand(2, 1, 64, 64)
    one, _ = asked(control, base, None, gray)
    other, _ = asked(control, base, None, gray.expand(-1, 3, -1, -1).contiguous())
    assert torch.equal(one, other)


def test_a_stopped_run_goes_on_to_the_same_bytes(run, tmp_path):
    options = SMALL | {"use_ema": True, "gradient_checkpointing": True}
    whole = run("whole", **options)
    run("part", **options)
    for path in list_states(tmp_path / "part")[1:]:
        path.unlink()
    assert [path.stem for path in list_states(tmp_path / "part")] == ["state-00000002"]
    assert run("part", **options, resume_from_checkpoint="latest") == whole


def test_it_does_not_go_on_as_an_adapter(run):
    run(**SMALL)
    with pytest.raises(ResumeError, match="control was controlnet and is adapter"):
        run(**SMALL | {"control": "adapter"}, resume_from_checkpoint="latest")


def test_colour_conditions_train_too(run, tmp_path):
    run(**SMALL, condition="colour", edge="none")
    found = read_controlnet(tmp_path / "run" / "controlnet.safetensors")
    assert found.metadata["local_control.condition"] == "colour 8"


def test_what_is_written_tells_its_kind_and_diffusers_opens_it(learnt, tmp_path, monkeypatch):
    found = read_control(learnt)
    assert found.metadata["local_control.control"] == "controlnet"
    assert found.metadata["modelspec.architecture"].endswith("/controlnet")
    assert found.metadata["local_control.condition"] == "canny 100 200"
    assert all(value.dtype == torch.float16 for value in found.tensors.values())
    monkeypatch.setattr(sys, "argv", f"export --adapter {learnt} --to {tmp_path / 'out'}".split())
    export.main()
    again = read_control(tmp_path / "out" / learnt.name)
    assert again.metadata == found.metadata
    from_folder = ControlNetModel.from_pretrained(tmp_path / "out" / "diffusers")
    from_file = ControlNetModel.from_single_file(
        str(learnt), config=str(tmp_path / "out" / "diffusers"), local_files_only=True
    )
    for network in (from_folder, from_file):
        state = network.state_dict()
        assert state.keys() == found.tensors.keys()
        assert all(torch.equal(state[k], v.float()) for k, v in found.tensors.items())


def test_a_checkpoint_gives_its_average(run, tmp_path):
    run(**SMALL, use_ema=True)
    state = read_trained(list_states(tmp_path / "run")[-1])
    written = read_controlnet(tmp_path / "run" / "controlnet.safetensors")
    assert state.tensors.keys() == written.tensors.keys()
    assert all(torch.equal(state.tensors[k].half(), v) for k, v in written.tensors.items())
    assert state.metadata.items() <= written.metadata.items()
    assert state.metadata["ss_steps"] == "3"


def test_it_can_start_from_a_file_or_a_folder_of_diffusers(make_settings, learnt, tmp_path):
    write_diffusers(read_control(learnt), tmp_path / "folder")
    expected = read_controlnet(learnt).tensors
    for start in (learnt, tmp_path / "folder"):
        settings = make_settings(control="controlnet", controlnet_model_name_or_path=start)
        network = control_of(settings, open_base(settings)).network
        found = network.state_dict()
        assert all(torch.equal(found[key], value.float()) for key, value in expected.items())
        assert all(parameter.requires_grad for parameter in network.parameters())


def test_files_that_do_not_fit_are_refused_by_what_is_wrong(
    make_settings, learnt, folders, adapter_file, tmp_path
):
    def start(path, **changes):
        settings = make_settings(
            control="controlnet", controlnet_model_name_or_path=path, **changes
        )
        return control_of(settings, open_base(settings))

    with pytest.raises(AdapterFileError, match=r"lacks .* of a ControlNet for this base"):
        start(learnt, pretrained_model_name_or_path=str(folders["sdxl"]))
    with pytest.raises(AdapterFileError, match=r"which no ControlNet of SD1\.5"):
        start(adapter_file)
    tensors = load_file(learnt)
    cut = dict(list(tensors.items())[:-1])
    save_file(cut, tmp_path / "cut.safetensors")
    with pytest.raises(AdapterFileError, match=f"lacks 1 of the {len(tensors)} tensors"):
        start(tmp_path / "cut.safetensors")
    broken = tensors | {"conv_in.bias": tensors["conv_in.bias"] / 0}
    save_file(broken, tmp_path / "broken.safetensors")
    with pytest.raises(AdapterFileError, match=r"NaN or infinite"):
        start(tmp_path / "broken.safetensors")


def test_what_does_not_tell_its_configuration_is_not_exported(learnt, tmp_path):
    save_file(load_file(learnt), tmp_path / "foreign.safetensors")
    with pytest.raises(AdapterFileError, match="does not tell the configuration"):
        write_diffusers(read_control(tmp_path / "foreign.safetensors"), tmp_path / "out")
    write_file(read_control(tmp_path / "foreign.safetensors"), tmp_path / "out.safetensors")
    assert read_control(tmp_path / "out.safetensors").metadata == {}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--controlnet_model_name_or_path x", "needs --control controlnet"),
        ("--control controlnet --adapter_type full", "--adapter_type is for --control adapter"),
        (
            "--control controlnet --adapter_model_name_or_path x",
            "name a ControlNet with --controlnet_model_name_or_path",
        ),
    ],
)
def test_flags_of_the_other_kind_are_refused(picture_folder, flags, words):
    needed = f"--pretrained_model_name_or_path base --train_data_dir {picture_folder} "
    with pytest.raises(SystemExit, match=words):
        read_settings(TrainSettings, (needed + flags).split())


def test_evaluation_compares_it_over_strengths_gated_and_exact(
    base_folder, picture_folder, learnt, adapter_file, tmp_path, monkeypatch
):
    arguments = f"""evaluate --pretrained_model_name_or_path {base_folder} --resolution 64
        --eval_data_dir {picture_folder} --mask_column mask --masks object --max_pictures 2
        --adapters net={learnt},exact={learnt}@exact,adapter={adapter_file}
        --num_inference_steps 1 --strengths 0.5,1 --output_dir {tmp_path / "out"}"""
    monkeypatch.setattr(sys, "argv", arguments.split())
    evaluate.main()
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    about = content["about"]["adapters"]
    assert about["net, strength 0.5"] == {
        "condition": "canny 100 200",
        "gated": True,
        "blended": False,
        "acts_on": "both",
        "strength": 0.5,
    }
    assert about["exact, strength 1"]["blended"]
    assert (tmp_path / "out" / "frontier.json").is_file()


def test_a_controlnet_of_another_base_is_a_sentence(
    folders, picture_folder, learnt, tmp_path, monkeypatch
):
    arguments = f"""evaluate --pretrained_model_name_or_path {folders["sdxl"]} --resolution 64
        --eval_data_dir {picture_folder} --adapters net={learnt}"""
    monkeypatch.setattr(sys, "argv", arguments.split())
    with pytest.raises(SystemExit, match=r"net lacks .* a ControlNet for this base"):
        evaluate.main()
