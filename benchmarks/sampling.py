"""What control costs in a step, side by side in one run, as ratios to sampling without control.

python -m benchmarks.sampling --shape demo
python -m benchmarks.sampling --shape sd15

Variants take turns, and each one's ratio is the median over rounds of its own round's times, so
that a machine that slows down slows all of them; on a busy machine the ratio of processor time is
the one to trust. What is done once a sampling, such as running the adapters, is told apart from the
steps. `sd15` is a random model of SD1.5's shape. Peak memory is that of a process of each variant's
own.
"""

import json
import logging
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from demo.base import ADAPTERS, CHECKPOINT, LATENT_SHAPE
from demo.workspace import prepare_demo_workspace
from testbed.comfyui import BUILD
from testbed.inprocess import LoadedComfy, load_comfy
from training.config.commands import CommandSettings, read_settings

log = logging.getLogger(__name__)

NONE = "no control"
_COUNTS = (1, 2, 4, 8)
_SD15 = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "channel_mult": [1, 2, 4, 4],
    "num_res_blocks": [2, 2, 2, 2],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "transformer_depth_middle": 1,
    "context_dim": 768,
    "num_heads": 8,
    "use_spatial_transformer": True,
    "use_linear_in_transformer": False,
    "use_temporal_attention": False,
    "adm_in_channels": None,
    "legacy": False,
    "use_checkpoint": False,
}


class SamplingSettings(CommandSettings):
    """Settings of the benchmark; every one is a command-line flag."""

    shape: Literal["demo", "sd15"] = Field(
        "demo", description="of the model: the demo's, or a random one of SD1.5's"
    )
    checkpoint: Path = Field(CHECKPOINT, description="of the demo's shape, as ComfyUI reads it")
    adapter: Path = Field(ADAPTERS["local"], description="for the demo's shape")
    side: int = Field(256, description="px, of the pictures")
    steps: int = Field(10, ge=2, description="in which a picture is sampled")
    rounds: int = Field(7, description="turns of every variant")
    only: str | None = Field(None, description="time one variant alone, in this process")
    advanced_controlnet: Path | None = Field(
        None, description="folder of ComfyUI-Advanced-ControlNet, to time its masked controls too"
    )


@dataclass(frozen=True)
class Subject:
    """A model with prompts, and one adapter as ours and as ComfyUI's own control."""

    model: Any
    conds: tuple[list, list]
    ours: Any
    stock: Any
    channels: int


def demo_subject(comfy: LoadedComfy, settings: SamplingSettings) -> Subject:
    """Return the demo model with its adapter."""
    model, clip, _ = comfy.call("CheckpointLoaderSimple", ckpt_name=settings.checkpoint.name)
    conds = [comfy.call("CLIPTextEncode", clip=clip, text=text)[0] for text in ("a cat", "")]
    ours = comfy.call("LocalControl_LoadAdapter", adapter_name=settings.adapter.name)[0]
    (stock,) = comfy.call("ControlNetLoader", control_net_name=settings.adapter.name)
    return Subject(model, (conds[0], conds[1]), ours, stock, LATENT_SHAPE[0])


def sd15_subject(comfy: LoadedComfy) -> Subject:
    """Return random weights of SD1.5's shape, which cost what trained ones do."""
    from comfy import model_base, model_management, model_patcher, supported_models

    model_config = supported_models.SD15(dict(_SD15))
    model_config.set_inference_dtype(torch.float32, None)
    with torch.inference_mode(False):
        model = model_base.BaseModel(model_config).eval().requires_grad_(False)
        for parameter in model.diffusion_model.parameters():
            parameter.normal_(0, 0.02)
    device = model_management.get_torch_device()
    patcher = model_patcher.ModelPatcher(model, device, torch.device("cpu"))
    conds = [[[torch.randn(1, 77, 768), {}]] for _ in range(2)]
    parts = comfy.module("local_control.adapter"), comfy.module("local_control.checkpoint")
    hooks = comfy.module("nodes.sampler.control.adapter")
    config = parts[0].AdapterConfig(in_channels=1)
    file = parts[1].AdapterFile(config, parts[0].Adapter(config).state_dict())
    ours = hooks.AdapterControl(hooks.LoadedAdapter.from_file(file, "random"))
    stock = comfy_control(dict(file.tensors))
    return Subject(patcher, (conds[0], conds[1]), ours, stock, 4)


def comfy_control(tensors: dict[str, Tensor]) -> Any:
    """Return ComfyUI's own control of an adapter's weights."""
    import comfy.controlnet

    return comfy.controlnet.load_t2i_adapter(tensors)


def stripes(count: int, side: int) -> list[Tensor]:
    """Return `count` masks [1,H,W] that cut the frame into upright stripes."""
    masks = []
    for i in range(count):
        mask = torch.zeros(1, side, side)
        mask[..., i * side // count : (i + 1) * side // count] = 1
        masks.append(mask)
    return masks


def ours_chain(comfy: LoadedComfy, subject: Subject, image: Tensor, count: int) -> tuple:
    """Return prompts under `count` regions in one Apply Local Control."""
    found: tuple = ()
    for mask in stripes(count, image.shape[1]):
        (found,) = comfy.call(
            "LocalControl_Region",
            control_net=subject.ours,
            image=image,
            mask=mask,
            regions=found,
        )
    return comfy.call(
        "LocalControl_Apply",
        positive=subject.conds[0],
        negative=subject.conds[1],
        regions=found,
        overlap="add",
    )


def stock_chain(comfy: LoadedComfy, subject: Subject, image: Tensor, count: int) -> tuple:
    """Return prompts under `count` stock Apply ControlNet nodes in a row."""
    conds: tuple = subject.conds
    for _ in range(count):
        conds = comfy.call(
            "ControlNetApplyAdvanced",
            positive=conds[0],
            negative=conds[1],
            control_net=subject.stock,
            image=image,
            strength=1.0 / count,
            start_percent=0.0,
            end_percent=1.0,
        )
    return conds


def advanced_chain(comfy: LoadedComfy, subject: Subject, image: Tensor, count: int) -> tuple:
    """Return prompts under `count` nodes of Advanced-ControlNet in a row, each with a mask."""
    conds: tuple = subject.conds
    for mask in stripes(count, image.shape[1]):
        conds = comfy.call(
            "ACN_AdvancedControlNetApply_v2",
            positive=conds[0],
            negative=conds[1],
            control_net=subject.stock,
            image=image,
            strength=1.0,
            start_percent=0.0,
            end_percent=1.0,
            mask_optional=mask,
        )
    return conds


def variants(
    comfy: LoadedComfy, subject: Subject, settings: SamplingSettings
) -> dict[str, tuple[Any, tuple]]:
    """Return each variant's model and (positive, negative)."""
    image = torch.rand(1, settings.side, settings.side, 3)
    watched = comfy.call("LocalControl_Z0Preview", model=subject.model)[0]
    found = {NONE: (subject.model, subject.conds), "Preview z0'": (watched, subject.conds)}
    for count in _COUNTS:
        stock = stock_chain(comfy, subject, image, count)
        found[f"stock Apply ControlNet x {count}"] = (subject.model, stock)
        if settings.advanced_controlnet is not None:
            masked = advanced_chain(comfy, subject, image, count)
            found[f"Advanced-ControlNet x {count}"] = (subject.model, masked)
        ours = ours_chain(comfy, subject, image, count)
        found[f"Local Control, {count} regions"] = (subject.model, ours)
    return found


@dataclass(frozen=True)
class Times:
    """Seconds of one sampling: of a step, also of the processor alone, and of what is done once."""

    step: float
    processor: float
    once: float


def sampler(
    comfy: LoadedComfy, model: Any, conds: tuple, channels: int, settings: SamplingSettings
) -> Callable[[], Times]:
    """Return one whole sampling as a function."""
    from comfy.utils import set_progress_bar_global_hook

    side = settings.side // 8
    latent = {"samples": torch.zeros(1, channels, side, side)}

    def run() -> Times:
        ends: dict[int, tuple[float, float]] = {}  # by step; a live picture tells of it once more

        def note(step: int, *_: Any, **__: Any) -> None:
            ends.setdefault(step, (time.perf_counter(), time.process_time()))

        set_progress_bar_global_hook(note)
        started = time.perf_counter()
        comfy.call(
            "KSampler",
            model=model,
            seed=0,
            steps=settings.steps,
            cfg=4.0,
            sampler_name="euler",
            scheduler="normal",
            positive=conds[0],
            negative=conds[1],
            latent_image=latent,
            denoise=1.0,
        )
        whole = time.perf_counter() - started
        step, processor = (
            median(after - before for before, after in pairwise(clock))
            for clock in zip(*ends.values(), strict=True)
        )
        return Times(step, processor, whole - settings.steps * step)

    return run


def peak_memory(settings: SamplingSettings, name: str) -> float:
    """Return the GiB that a process needs which runs one variant alone."""
    short = settings.model_copy(update={"steps": 2, "rounds": 0, "only": name})
    flags = [f"--{key}={value}" for key, value in short.model_dump(exclude_none=True).items()]
    command = [sys.executable, "-m", "benchmarks.sampling", *flags]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(found.stdout.splitlines()[-1])


def spread(ratios: Sequence[float]) -> str:
    """Return the median of some ratios, with the lowest and the highest."""
    return f"{median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"


def main() -> None:
    """Time all variants in turn and print their ratios."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = read_settings(SamplingSettings)
    files = {"checkpoints": [settings.checkpoint], "controlnet": [settings.adapter]}
    others = {}
    if settings.advanced_controlnet is not None:
        others["advanced_controlnet"] = settings.advanced_controlnet
    folder = BUILD / "benchmark" / "sampling"
    shutil.rmtree(folder / "custom_nodes", ignore_errors=True)  # no pack of an earlier run
    workspace = prepare_demo_workspace(folder, files, others)
    with torch.inference_mode():
        comfy = load_comfy(workspace)
        subject = demo_subject(comfy, settings) if settings.shape == "demo" else sd15_subject(comfy)
        runs = {
            name: sampler(comfy, model, conds, subject.channels, settings)
            for name, (model, conds) in variants(comfy, subject, settings).items()
            if settings.only in (None, name)
        }
        times: dict[str, list[Times]] = {name: [] for name in runs}
        for round_ in range(settings.rounds + 1):
            for name, run in runs.items():
                took = run()
                if round_:  # the first round warms up
                    times[name].append(took)
    if settings.only is not None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
        sys.stdout.write(f"{json.dumps(peak)}\n")
        return
    for name, found in times.items():
        log.info(
            "%-28s %7.1f ms a step, ratio %s, of processor time %s, %5.0f ms once, peak %.2f GiB",
            name,
            1000 * median(each.step for each in found),
            spread([a.step / b.step for a, b in zip(found, times[NONE], strict=True)]),
            spread([a.processor / b.processor for a, b in zip(found, times[NONE], strict=True)]),
            1000 * median(each.once for each in found),
            peak_memory(settings, name),
        )


if __name__ == "__main__":
    main()
