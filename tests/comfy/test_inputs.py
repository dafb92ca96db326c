"""What odd graphs hand to nodes: every input of every node, from the schemas, with what none wants.

Each gets one sentence that names the input, or the right result.
"""

import math

import pytest
import torch
from small_controls import BUILDERS
from small_models import build_model, conditioning

SIDE = 64


class Absent:
    """No value that any input takes."""


def image(batch=1, side=SIDE):
    picture = torch.rand(batch, side, side, 3, generator=torch.Generator().manual_seed(batch))
    return torch.nn.functional.avg_pool2d(picture, (5, 1), 1, (2, 0))


def mask(side=SIDE):
    white = torch.zeros(1, side, side)
    white[:, 5:40, 10:50] = 0.8
    return white


def spoilt(tensor, value):
    tensor = tensor.clone()
    tensor.flatten()[3] = value
    return tensor


NUMBERS = {"a word": "many", "NaN": math.nan, "infinite": math.inf, "too much": 1e9, "less": -1e9}
LATENT = {"samples": torch.zeros(1, 4, 8, 8)}
ANY = {"a word": "of no use", "an object": Absent(), "a list": [Absent()]}
# By the type of an input: what none can use.
BAD = {
    "IMAGE": ANY
    | {
        "NaN": spoilt(image(), math.nan),
        "infinite": spoilt(image(), -math.inf),
        "half NaN": spoilt(image(), math.nan).bfloat16(),
        "far too bright": spoilt(image(), 1e38),
        "an empty batch": image()[:0],
        "no height": image()[:, :0],
        "two channels": image()[..., :2],
        "a mask": mask(),
        "bytes": (image() * 255).byte(),
        "a thread": torch.rand(1, 1, 65, 3),
    },
    "MASK": ANY
    | {
        "NaN": spoilt(mask(), math.nan),
        "infinite": spoilt(mask(), math.inf),
        "an empty batch": mask()[:0],
        "no width": mask()[..., :0],
        "a row": mask()[0, 0],
        "an image": image(),
        "bytes": (mask() * 255).byte(),
        "a thread": torch.ones(1, 65, 1),
    },
    "LATENT": ANY
    | {
        "no samples": {},
        "an empty batch": {"samples": torch.zeros(0, 4, 8, 8)},
        "NaN": {"samples": torch.full((1, 4, 8, 8), math.nan)},
        "1e30": {"samples": torch.full((1, 4, 8, 8), 1e30)},
        "a picture": image(),
    },
    "CONDITIONING": ANY | {"text alone": [conditioning()[0][0]]},
    "MODEL": ANY | {"a tensor": mask()},
    "VAE": ANY,
    "CONTROL_NET": ANY,
    "LOCAL_REGIONS": ANY,
    "Z0_TRACE": ANY,
    "STRING": {"an object": Absent(), "a number": 3},
    "COMBO": {"an unknown option": "no such option", "a number": 3, "an object": Absent()},
    "INT": NUMBERS | {"a fraction": 66.5},
    "FLOAT": NUMBERS,
    "BOOLEAN": {"a word": "yes", "a number": 3},
}

OF_RESULTS = ("LocalControl_Z0Frames", "LocalControl_PreviewRegions")
# z0' Frames shows how a result came to be no numbers; of one size is asked; any number is a seed.
TAKEN = (
    *((node, "latent", way) for node in OF_RESULTS for way in ("NaN", "1e30")),
    ("LocalControl_LocalControl", "seed", "too much"),
)


@pytest.fixture(autouse=True)
def adapter(monkeypatch):
    """A name that can be chosen where a file of an adapter is wanted."""
    import folder_paths

    monkeypatch.setattr(folder_paths, "get_filename_list", lambda folder: ["a.safetensors"])


@pytest.fixture(scope="module")
def good(comfy):
    """Values by type that all checks let pass, and the inputs of a node made of them."""
    with torch.inference_mode():
        control = BUILDERS["sd15"]().control
        region = comfy.nodes["LocalControl_Region"]
        values = {
            "IMAGE": image(),
            "MASK": mask(),
            "LATENT": LATENT,
            "CONDITIONING": conditioning(),
            "MODEL": build_model("sd15"),
            "CONTROL_NET": control,
            "LOCAL_REGIONS": region.execute(control, image(), mask()).result[0],
        }

    def inputs(node_id):
        specs = comfy.nodes[node_id].define_schema().inputs
        return {
            spec.id: ["1", 0]
            if spec.extra_dict.get("rawLink")
            else values.get(str(spec.get_io_type()), getattr(spec, "default", None))
            for spec in specs
        } | {spec.id: "a.safetensors" for spec in specs if spec.id == "adapter_name"}

    return inputs


def inputs_of_all(comfy):
    """Every input of every node of the pack: (node id, input)."""
    return [
        (node_id, spec)
        for node_id, node in comfy.nodes.items()
        if node_id.startswith("LocalControl_")
        for spec in node.define_schema().inputs
    ]


def sentence_of(comfy, node_id, inputs):
    """What a node raises."""
    with pytest.raises(ValueError, match=r"\.$") as error:
        comfy.nodes[node_id].execute(**inputs)
    return str(error.value)


def assert_one_sentence(message, name):
    assert name in message
    assert "\n" not in message
    assert message.endswith(".")
    assert message.count(". ") == 0, message


def test_every_input_names_itself_in_one_sentence_whatever_it_is_given(comfy, good):
    for node_id, spec in inputs_of_all(comfy):
        for what, value in BAD[str(spec.get_io_type())].items():
            if (node_id, spec.id, what) in TAKEN:
                continue
            message = sentence_of(comfy, node_id, good(node_id) | {spec.id: value})
            assert_one_sentence(message, f"The {spec.id} of ")
            assert len(message) < 400, what


def test_every_required_input_that_is_none_or_absent_names_itself(comfy, good):
    for node_id, spec in inputs_of_all(comfy):
        if spec.optional:
            continue
        inputs = good(node_id) | {spec.id: None}
        assert_one_sentence(sentence_of(comfy, node_id, inputs), f"The {spec.id} of ")


def outputs(comfy, node_id, inputs):
    """The results of a node; of regions what is in them."""
    found = comfy.nodes[node_id].execute(**inputs).result
    if node_id == "LocalControl_Region":
        return [(r.condition, r.mask.white, r.strength, r.curve) for r in found[0]]
    return [result for result in found if not isinstance(result, list | str)]


def assert_same(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3, equal_nan=True)


RUN = (
    "LocalControl_Condition",
    "LocalControl_Region",
    "LocalControl_Apply",
    "LocalControl_PreviewRegions",
    "LocalControl_Score",
)


@pytest.mark.parametrize("node_id", RUN)
def test_optional_inputs_that_are_none_count_as_not_connected(comfy, good, node_id):
    inputs = good(node_id)
    specs = comfy.nodes[node_id].define_schema().inputs
    optional = [spec.id for spec in specs if spec.optional]
    required = {key: value for key, value in inputs.items() if key not in optional}
    found = outputs(comfy, node_id, required | dict.fromkeys(optional))
    expected = outputs(comfy, node_id, required)
    assert str(found) == str(expected)


def kinds(node_id):
    names = ("canny", "sobel", "laplacian", "colour"), ("edges", "colour"), ("frame", "cover")
    order = ("LocalControl_Condition", "LocalControl_Score", "LocalControl_Region")
    return dict(zip(order, names, strict=True)).get(node_id, (None,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("node_id", RUN)
def test_half_and_double_precision_give_what_fp32_gives(comfy, good, node_id, dtype):
    for kind in kinds(node_id):
        inputs = good(node_id)
        inputs |= {key: kind for key in ("kind", "fit") if key in inputs}
        if "uncontrolled" in inputs:
            inputs["uncontrolled"] = 1 - image()
        half = {k: v.to(dtype) if torch.is_tensor(v) else v for k, v in inputs.items()}
        full = {k: v.float() if torch.is_tensor(v) else v for k, v in half.items()}
        assert_same(outputs(comfy, node_id, half), outputs(comfy, node_id, full))


@pytest.mark.parametrize("node_id", ["LocalControl_Region", "LocalControl_Score"])
def test_masks_are_taken_in_every_layout_that_packs_give_them_in(comfy, good, node_id):
    white = torch.cat([mask(), mask().flip(-1)])
    inputs = good(node_id) | {"image": image(2)}
    expected = outputs(comfy, node_id, inputs | {"mask": white})
    for same in (white[:, None], white[..., None], (white > 0.5).float() * 0.8):
        assert_same(outputs(comfy, node_id, inputs | {"mask": same}), expected)
    alone = outputs(comfy, node_id, good(node_id))
    assert_same(outputs(comfy, node_id, good(node_id) | {"mask": mask()[0]}), alone)
    full = outputs(comfy, node_id, inputs | {"mask": (white > 0.5).float()})
    assert_same(outputs(comfy, node_id, inputs | {"mask": white > 0.5}), full)


def test_gray_images_of_one_channel_are_those_of_three(comfy, good):
    for node_id in ("LocalControl_Condition", "LocalControl_Region", "LocalControl_Score"):
        gray = good(node_id) | {"image": image()[..., :1]}
        full = good(node_id) | {"image": image()[..., :1].expand(-1, -1, -1, 3)}
        assert_same(outputs(comfy, node_id, gray), outputs(comfy, node_id, full))


@pytest.mark.parametrize(("node_id", "least"), [("Condition", 3), ("Score", 8)])
def test_pictures_that_are_too_small_to_look_at_are_named(comfy, good, node_id, least):
    node_id = f"LocalControl_{node_id}"
    for kind in kinds(node_id):
        small = torch.rand(1, least - 1, least + 5, 3)
        message = sentence_of(comfy, node_id, good(node_id) | {"image": small, "kind": kind})
        assert_one_sentence(message, "The image of ")
        assert f"{least} pixels or more" in message
        large = {"image": torch.rand(1, least, least, 3), "kind": kind}
        inputs = {key: value for key, value in good(node_id).items() if key != "uncontrolled"}
        assert comfy.nodes[node_id].execute(**inputs | large)
