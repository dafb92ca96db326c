"""The perceptual change outside: what it sees, where, and which files it takes."""

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import vgg16

from training.data.records import DatasetError
from training.evaluation.perceptual import PerceptualChange


@pytest.fixture(scope="module")
def trunk():
    torch.manual_seed(0)
    return vgg16(weights=None).features


@pytest.fixture(scope="module")
def perceptual(trunk, tmp_path_factory):
    path = tmp_path_factory.mktemp("vgg") / "vgg.safetensors"
    tensors = {f"features.{key}": value for key, value in trunk.state_dict().items()}
    save_file(tensors | {"classifier.0.weight": torch.zeros(1)}, path)
    return PerceptualChange(path)


@pytest.fixture
def images():
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_equal_pictures_are_at_no_distance(perceptual, images):
    assert not perceptual(images, images, torch.ones(2, 1, 64, 64)).any()


def test_a_change_far_inside_is_nothing_outside(perceptual, images):
    """What the first blocks see of it at the border, they see of few pixels."""
    changed = images.clone()
    changed[..., :8, :8] = 0
    mask = torch.zeros(2, 1, 64, 64)
    mask[..., :16, :16] = 1
    inside, outside = (perceptual(images, changed, m) for m in (mask, 1 - mask))
    assert (outside < inside / 5).all()


def test_there_is_one_value_a_picture(perceptual, images):
    changed = images.clone()
    changed[1] = 1 - changed[1]
    found = perceptual(images, changed, torch.ones(2, 1, 64, 64))
    assert found[0] == 0
    assert found[1] > 0


def test_a_file_of_another_network_is_refused(tmp_path):
    save_file({"features.0.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(DatasetError, match="no trunk of a VGG16"):
        PerceptualChange(tmp_path / "other.safetensors")


def test_a_file_that_is_damaged_is_a_sentence(tmp_path):
    (tmp_path / "cut.safetensors").write_bytes(b"no weights")
    with pytest.raises(DatasetError, match=r"cut\.safetensors cannot be read .*; name a whole"):
        PerceptualChange(tmp_path / "cut.safetensors")


def test_a_converted_trunk_sees_pictures_as_the_original_does(trunk, tmp_path):
    """Its first layer takes BGR of 0..255 less a mean, in Keras' order of kernels."""
    h5py = pytest.importorskip("h5py")
    from lab.make.edge_trunk import convert

    state = trunk.state_dict()
    with h5py.File(tmp_path / "w.h5", "w") as file:
        blocks = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
        for block, places in enumerate(blocks, 1):
            for index, place in enumerate(places):
                name = f"block{block}/layers/conv2d{f'_{index}' if index else ''}/vars"
                kernel = state[f"{place}.weight"].permute(2, 3, 1, 0)
                file[f"{name}/0"], file[f"{name}/1"] = (
                    kernel.numpy(),
                    state[f"{place}.bias"].numpy(),
                )
        tensors = convert(file)
    rgb = torch.rand(1, 3, 16, 16)
    theirs = 255 * rgb.flip(1) - torch.tensor([104.00699, 116.66877, 122.67892]).view(1, 3, 1, 1)
    ours = (rgb - torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(1, 3, 1, 1)
    wanted = torch.nn.functional.conv2d(theirs, state["0.weight"], state["0.bias"])
    weight, bias = tensors["features.0.weight"], tensors["features.0.bias"]
    torch.testing.assert_close(
        torch.nn.functional.conv2d(ours, weight, bias), wanted, rtol=1e-4, atol=1e-3
    )
    assert torch.equal(tensors["features.2.weight"], state["2.weight"])
