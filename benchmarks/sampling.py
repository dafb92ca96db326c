"""What control costs in a step, side by side in one run, as ratios to sampling without control.

python -m benchmarks.sampling

Variants take turns, and each one's ratio is the median over rounds of its own round's times, so
that a machine that slows down slows all of them.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from demo.base import CHECKPOINT, LATENT_SHAPE, WEIGHTS
from demo.comfyui import BUILD
from demo.inprocess import LoadedComfy, load_comfy
from demo.server import prepare_workspace
from training.settings import CommandSettings, read_settings

log = logging.getLogger(__name__)


class Config(CommandSettings):
    """Settings of the benchmark; every one is a command-line flag."""

    checkpoint: Path = CHECKPOINT
    adapter: Path = WEIGHTS / "local_canny_demo.safetensors"
    side: int = 256
    steps: int = 10
    rounds: int = 7


def stripes(count: int, side: int) -> list[Tensor]:
    """`count` masks [1,H,W] that cut the frame into upright stripes."""
    masks = []
    for i in range(count):
        mask = torch.zeros(1, side, side)
        mask[..., i * side // count : (i + 1) * side // count] = 1
        masks.append(mask)
    return masks


def regions(comfy: LoadedComfy, control: Any, image: Tensor, count: int) -> tuple:
    """A list of `count` regions."""
    found: tuple = ()
    for mask in stripes(count, image.shape[1]):
        (found,) = comfy.call(
            "LocalControl_Region",
            control_net=control,
            image=image,
            mask=mask,
            regions=found,
        )
    return found


def stock_chain(comfy: LoadedComfy, control: Any, image: Tensor, conds: tuple, count: int) -> tuple:
    """`count` stock Apply ControlNet nodes in a row."""
    for _ in range(count):
        conds = comfy.call(
            "ControlNetApplyAdvanced",
            positive=conds[0],
            negative=conds[1],
            control_net=control,
            image=image,
            strength=1.0 / count,
            start_percent=0.0,
            end_percent=1.0,
        )
    return conds


def variants(comfy: LoadedComfy, config: Config) -> tuple[Any, dict[str, tuple]]:
    """The model, and each variant's (positive, negative)."""
    model, clip, _ = comfy.call("CheckpointLoaderSimple", ckpt_name=config.checkpoint.name)
    plain = tuple(comfy.call("CLIPTextEncode", clip=clip, text=text)[0] for text in ("a cat", ""))
    image = torch.rand(1, config.side, config.side, 3)
    (stock,) = comfy.call("ControlNetLoader", control_net_name=config.adapter.name)
    ours = comfy.call("LocalControl_LoadAdapter", adapter_name=config.adapter.name)[0]
    found = {"no control": plain}
    for count in (1, 2, 4, 8):
        found[f"stock Apply ControlNet x {count}"] = stock_chain(comfy, stock, image, plain, count)
        found[f"Local Control, {count} regions"] = comfy.call(
            "LocalControl_Apply",
            positive=plain[0],
            negative=plain[1],
            regions=regions(comfy, ours, image, count),
            overlap="add",
        )
    return model, found


def sampler(comfy: LoadedComfy, model: Any, conds: tuple, config: Config) -> Callable[[], None]:
    """One whole sampling as a function."""
    side = config.side // 8
    latent = {"samples": torch.zeros(1, LATENT_SHAPE[0], side, side)}

    def run() -> None:
        comfy.call(
            "KSampler",
            model=model,
            seed=0,
            steps=config.steps,
            cfg=4.0,
            sampler_name="euler",
            scheduler="normal",
            positive=conds[0],
            negative=conds[1],
            latent_image=latent,
            denoise=1.0,
        )

    return run


def main() -> None:
    """Time all variants in turn and print their ratios."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = read_settings(Config)
    workspace = prepare_workspace(
        BUILD / "benchmark", {"checkpoints": [config.checkpoint], "controlnet": [config.adapter]}
    )
    with torch.inference_mode():
        comfy = load_comfy(workspace)
        model, conds = variants(comfy, config)
        runs = {name: sampler(comfy, model, pair, config) for name, pair in conds.items()}
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for round_ in range(config.rounds + 1):
            for name, run in runs.items():
                start = time.perf_counter()
                run()
                if round_:  # the first round warms up
                    seconds[name].append((time.perf_counter() - start) / config.steps)
    base = seconds["no control"]
    for name, values in seconds.items():
        ratio = median(a / b for a, b in zip(values, base, strict=True))
        log.info("%-28s %7.1f ms a step, ratio %.3f", name, 1000 * median(values), ratio)


if __name__ == "__main__":
    main()
