"""An adapter is taken by every UNet with places for its features, and by no other."""

import logging
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from small_models import CONTEXT, FAMILIES, WIDTH, build_model, conditioning, fill

SD, XL = (FAMILIES[name].config for name in ("sd15", "sdxl"))
# ComfyUI's UNets (comfy.model_detection) at a small width: what differs from SD1.5's or SDXL's.
UNETS = {
    "SD15": SD,
    "SD20": {**SD, "use_linear_in_transformer": True},
    "SVD_img2vid": {
        **SD,
        "use_temporal_attention": True,
        "use_temporal_resblock": True,
        "extra_ff_mix_layer": True,
        "use_spatial_context": True,
        "merge_strategy": "learned_with_images",
        "video_kernel_size": [3, 1, 1],
    },
    "SDXLRefiner": {
        **SD,
        "model_channels": 2 * WIDTH,
        "transformer_depth": [0, 0, 4, 4, 4, 4, 0, 0],
        "transformer_depth_output": [0, 0, 0, 4, 4, 4, 4, 4, 4, 0, 0, 0],
    },
    "SD_XS": {
        **SD,
        "channel_mult": [1, 2, 4],
        "num_res_blocks": [1, 1, 1],
        "transformer_depth": [1, 1, 1],
        "transformer_depth_output": [1, 1, 1, 1, 1, 1],
        "transformer_depth_middle": -2,
    },
    "SDXL": XL,
    "SSD1B": {**XL, "transformer_depth_middle": -1},
    "Segmind_Vega": {
        **XL,
        "transformer_depth": [0, 0, 1, 1, 2, 2],
        "transformer_depth_output": [0, 0, 0, 1, 1, 1, 2, 2, 2],
        "transformer_depth_middle": -1,
    },
    "KOALA_700M": {
        **XL,
        "num_res_blocks": [1, 1, 1],
        "transformer_depth": [0, 2, 5],
        "transformer_depth_output": [0, 0, 2, 2, 5, 5],
        "transformer_depth_middle": -2,
    },
    "KOALA_1B": {
        **XL,
        "num_res_blocks": [1, 1, 1],
        "transformer_depth": [0, 2, 6],
        "transformer_depth_output": [0, 0, 2, 2, 6, 6],
        "transformer_depth_middle": 6,
    },
    "one number of blocks": {**XL, "num_res_blocks": 2},
}
TAKEN = {
    "full": {"SD15", "SD20", "SVD_img2vid"},
    "light": {"SD15", "SD20", "SVD_img2vid"},
    "xl": {"SDXL", "SSD1B", "Segmind_Vega", "one number of blocks"},
}


def model_of(name, config):
    """What a control is told of a model: its class by name, and the UNet's shape."""
    return SimpleNamespace(model_config=type(name, (), {"unet_config": config})())


def adapter_region(comfy, kind, channels=None, told=None, name="mine.safetensors", number=2):
    hooks = comfy.module("nodes.sampler.control.adapter")
    adapter = comfy.module("local_control.adapter")
    channels = channels or (WIDTH, 2 * WIDTH, 4 * WIDTH, 4 * WIDTH)
    config = adapter.AdapterConfig(kind=kind, channels=channels)
    with torch.device("meta"):
        network = adapter.Adapter(config)
    loaded = hooks.LoadedAdapter(network, config, name, told)
    return hooks.AdapterRegion(
        adapter=loaded, condition=torch.zeros(1), mask=torch.ones(1), number=number
    )


def check(comfy, region, model):
    family = comfy.module("nodes.sampler.control.places")
    family.check_family(region.adapter, region.number, model)


def is_accepted(comfy, region, model):
    try:
        check(comfy, region, model)
    except ValueError:
        return False
    return True


def takes_all(comfy, unet, region, caplog):
    """Whether every feature is added somewhere, as ComfyUI's own UNet has it."""
    config = region.adapter.config
    features = [
        torch.ones(2, channels, 256 // factor, 256 // factor)
        for channels, factor in zip(config.channels, config.factors, strict=True)
    ]
    slots = comfy.module("nodes.sampler.control.adapter").to_slots(config.kind, features)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        unet(
            torch.zeros(2, unet.in_channels, 32, 32),
            torch.ones(2),
            torch.zeros(2, 3, CONTEXT),
            y=None if unet.num_classes is None else torch.zeros(2, 2816),
            control=slots,
            num_video_frames=1,
            image_only_indicator=torch.zeros(2, 1),
        )
    left_over = [feature for row in slots.values() for feature in row if feature is not None]
    return not left_over and "could not be applied" not in caplog.text


@pytest.mark.parametrize("name", UNETS)
def test_an_adapter_is_accepted_where_the_unet_takes_all_its_features(comfy, name, caplog):
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    config = {**UNETS[name], "num_head_channels": 16}
    with torch.inference_mode(False):
        unet = UNetModel(**config).eval().requires_grad_(False)
        fill(unet)
    for kind, taken in TAKEN.items():
        region = adapter_region(comfy, kind)
        assert takes_all(comfy, unet, region, caplog) == (name in taken), kind
        assert is_accepted(comfy, region, model_of(name, config)) == (name in taken), kind


@pytest.mark.parametrize("level", range(4))
@pytest.mark.parametrize(("kind", "name"), [("full", "SD15"), ("light", "SD15"), ("xl", "SDXL")])
def test_one_level_of_another_width_is_refused_by_its_number(comfy, kind, name, level):
    channels = [WIDTH, 2 * WIDTH, 4 * WIDTH, 4 * WIDTH]
    channels[level] = 8
    region = adapter_region(comfy, kind, channels=tuple(channels))
    with pytest.raises(ValueError, match=rf"no place for level {level + 1} \(8 channels"):
        check(comfy, region, model_of(name, UNETS[name]))


WIDE = (320, 640, 1280, 1280)
STOCK = {"SD15": {**SD, "context_dim": 768}, "SD20": {**SD, "context_dim": 1024}, "SDXL": XL}
STOCK = {name: {**config, "model_channels": 320} for name, config in STOCK.items()}


@pytest.mark.parametrize(
    ("told", "model", "accepted"),
    [
        (None, "SD15", True),
        (None, "SD20", True),
        ("SD1.5", "SD15", True),
        ("SD2", "SD20", True),
        ("SD2", "SD15", False),
        ("SD1.5", "SD20", False),
        (None, "SDXL", False),
    ],
)
def test_what_a_file_tells_of_its_family_counts_where_widths_are_equal(
    comfy, told, model, accepted
):
    region = adapter_region(comfy, "full", WIDE, told)
    assert is_accepted(comfy, region, model_of(model, STOCK[model])) == accepted


def test_a_demo_family_of_any_text_width_takes_an_adapter_of_its_channels(comfy):
    region = adapter_region(comfy, "full", told=None)
    demo = model_of("LocalControlDemo", FAMILIES["demo"].config)
    assert is_accepted(comfy, region, demo)


def test_the_sentence_names_region_adapter_both_families_and_the_place(comfy):
    for kind, channels, told, model, words in [
        ("full", WIDE, "SD2", "SD15", r"mine\.safetensors of region 2 is for SD2, .* is SD15; "),
        ("full", WIDE, None, "SDXL", r"is SDXL, .* level 4 \(1280 .* block 11 does not exist\);"),
        ("xl", WIDE, None, "SD15", r"is SD15, .* level 4 .* middle block has 1280 at 1/8"),
        ("xl", None, None, "KOALA_700M", r"is KOALA_700M, .* block 3 has 64 at 1/2\);"),
        ("full", None, None, "Flux", r"for width 32, but the model is Flux; load an adapter for"),
    ]:
        config = STOCK.get(model) or UNETS.get(model, {"image_model": "flux"})
        with pytest.raises(ValueError, match=words) as error:
            check(comfy, adapter_region(comfy, kind, channels, told), model_of(model, config))
        assert "\n" not in str(error.value)


def loaded(comfy, family, channels=FAMILIES["sd15"].channels, metadata=None):
    """A CONTROL_NET as Load Local Adapter gives it."""
    adapter = comfy.module("local_control.adapter")
    hooks = comfy.module("nodes.sampler.control.adapter")
    config = adapter.AdapterConfig(kind=FAMILIES[family].adapter_kind, channels=channels)
    file = comfy.module("local_control.checkpoint").AdapterFile(
        config, adapter.Adapter(config).state_dict(), metadata or {}
    )
    return hooks.AdapterControl(hooks.LoadedAdapter.from_file(file, f"{family}.safetensors"))


def assert_refused_before_the_first_step(comfy, model, regions, told):
    from comfy.sample import sample

    apply, steps = comfy.nodes["LocalControl_Apply"].execute, []
    prompts = apply(conditioning(0), conditioning(1), regions, "add").result
    model.set_model_unet_function_wrapper(lambda *call: steps.append(call))
    latent = torch.zeros(1, 4, 16, 16)
    with pytest.raises(ValueError, match=told):
        sample(model, latent, 2, 1.0, "euler", "normal", *prompts, latent, disable_pbar=True)
    assert not steps


def test_the_region_that_does_not_fit_is_named_before_the_first_step(comfy):
    nodes, model = comfy.nodes, build_model("sd15")
    image, mask, regions = torch.rand(1, 128, 128, 3), torch.ones(1, 128, 128), ()
    for family in ("sd15", "sdxl"):
        add = nodes["LocalControl_Region"].execute
        regions = add(loaded(comfy, family), image, mask, regions=regions).result[0]
    told = r"sdxl\.safetensors of region 2 is for SDXL"
    assert_refused_before_the_first_step(comfy, model, regions, told)


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ({"modelspec.architecture": "stable-diffusion-v2-768-v/t2i-adapter"}, "SD2"),
        ({"ss_base_model_version": "sd_v1"}, "SD1.5"),
        ({"ss_base_model_version": "sdxl_base_v1-0"}, None),  # its shape says otherwise
        ({"modelspec.architecture": "width 64/t2i-adapter"}, None),
        ({}, None),
    ],
)
def test_what_a_file_tells_reaches_the_control(comfy, metadata, told):
    control = loaded(comfy, "sd15", (320, 64, 64, 64), metadata)
    assert control.adapter.told_family == told


def test_a_unet_with_other_residual_blocks_is_refused_by_name_before_the_first_step(
    comfy, monkeypatch
):
    koala = replace(FAMILIES["sdxl"], base="KOALA_700M", config=UNETS["KOALA_700M"])
    monkeypatch.setitem(FAMILIES, "koala", koala)
    model = build_model("koala")
    regions = comfy.nodes["LocalControl_Region"].execute(
        loaded(comfy, "sdxl"), torch.rand(1, 128, 128, 3), torch.ones(1, 128, 128)
    )
    told = r"sdxl\.safetensors of region 1 .* is KOALA_700M"
    assert_refused_before_the_first_step(comfy, model, regions.result[0], told)


@pytest.mark.parametrize(
    ("metadata", "family"),
    [
        ({"modelspec.architecture": "stable-diffusion-v2-512/t2i-adapter"}, "SD2"),
        ({"ss_base_model_version": "sd_v2"}, "SD2"),
        ({"ss_base_model_version": "sd_v1"}, "SD1.5"),
        ({}, "SD1.5"),
    ],
)
def test_the_loader_tells_the_family_that_the_file_tells(comfy, metadata, family):
    adapter = comfy.module("local_control.adapter")
    file = comfy.module("local_control.checkpoint").AdapterFile(
        adapter.AdapterConfig(), {}, metadata
    )
    first = comfy.module("nodes.adapter_files").describe(file).splitlines()[0]
    assert first.startswith(f"full T2I-Adapter for {family}, ")


def test_whatever_a_file_says_of_itself_is_a_short_line(comfy):
    adapter = comfy.module("local_control.adapter")
    metadata = {
        "local_control.condition": "canny a b",
        "local_control.method": "x\n" * 90_000,
        "modelspec.title": "\u202e\0",
    }
    file = comfy.module("local_control.checkpoint").AdapterFile(
        adapter.AdapterConfig(), {}, metadata
    )
    lines = comfy.module("nodes.adapter_files").describe(file).splitlines()
    assert len(lines) == 4
    assert "condition: canny a b" in lines
    assert all(line.isprintable() and len(line) < 400 for line in lines)
