"""Adherence and freedom of local control on held-out objects, through the nodes of ComfyUI.

python -m demo.measure

Each scene holds two objects that neither base nor adapters have seen. The condition has the edges
of the whole scene, the mask a box around the first object, the prompt the objects' categories. All
variants share their noise. Two rows that no sampling is needed for say what a score can be: another
scene (what chance gives) and the scene itself through the autoencoder (the most that can be had).
"""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from local_control.metrics import divergence, edge_match, leak
from training.settings import CommandSettings, read_settings

from .base import ADAPTERS, CHECKPOINT, LATENT_SHAPE, WEIGHTS
from .cases import EDGES, picture, subject_mask, subject_scene
from .comfyui import BUILD
from .data import DEFAULT_FOLDER
from .inprocess import LoadedComfy, load_comfy
from .scenes import Scene, SceneSet
from .server import prepare_workspace
from .vocabulary import Split

log = logging.getLogger(__name__)

# Variant: adapter file and whether its features are gated by the mask.
VARIANTS: dict[str, tuple[str, bool] | None] = {
    "no control": None,
    "plain, everywhere": ("plain", False),
    "plain, gated": ("plain", True),
    "local, gated": ("local", True),
}


class Config(CommandSettings):
    """Settings of the measurement; every one is a command-line flag."""

    split: Split = "test"
    data_dir: Path = DEFAULT_FOLDER
    checkpoint: Path = CHECKPOINT
    adapters: Path = WEIGHTS
    output: Path = BUILD / "measure.json"
    seeds: int = 3
    steps: int = 20
    cfg: float = 4.0
    tolerance: int = 2


CHANCE = "another scene"
CEILING = "reconstruction"


class Sampler:
    """The graph of the example workflow, called node by node."""

    def __init__(self, comfy: LoadedComfy, config: Config) -> None:
        self.comfy = comfy
        self.config = config
        self.model, self.clip, self.vae = self.comfy.call(
            "CheckpointLoaderSimple", ckpt_name=config.checkpoint.name
        )

    def reconstruct(self, image: Tensor) -> Tensor:
        """A picture [1,H,W,3] through the autoencoder."""
        (latent,) = self.comfy.call("VAEEncode", pixels=image, vae=self.vae)
        return self.comfy.call("VAEDecode", samples=latent, vae=self.vae)[0]

    def adapter(self, name: str) -> Any:
        """A CONTROL_NET."""
        return self.comfy.call("LocalControl_LoadAdapter", adapter_name=ADAPTERS[name].name)[0]

    def text(self, prompt: str) -> list:
        """A CONDITIONING."""
        return self.comfy.call("CLIPTextEncode", clip=self.clip, text=prompt)[0]

    def control(
        self, control_net: Any, scene: Tensor, mask: Tensor, positive: list, negative: list
    ) -> tuple[list, list]:
        """Edges of `scene` [1,H,W,3] applied inside `mask` [1,H,W]."""
        (condition,) = self.comfy.call(
            "LocalControl_Condition",
            image=scene,
            kind="canny",
            low_threshold=int(EDGES.low),
            high_threshold=int(EDGES.high),
            blur=EDGES.blur,
            blocks=EDGES.blocks,
        )
        (regions,) = self.comfy.call(
            "LocalControl_Region",
            control_net=control_net,
            image=condition,
            mask=mask,
        )
        return self.comfy.call(
            "LocalControl_Apply",
            positive=positive,
            negative=negative,
            regions=regions,
            overlap="add",
        )

    def guided(self, scene: Tensor, mask: Tensor, scale: float, edge: str) -> Any:
        """The model with edge guidance towards `scene` [1,H,W,3] inside `mask` [1,H,W]."""
        (reference,) = self.comfy.call("VAEEncode", pixels=scene, vae=self.vae)
        return self.comfy.call(
            "LocalControl_EdgeGuidance",
            model=self.model,
            reference=reference,
            mask=mask,
            scale=scale,
            start_percent=0.0,
            end_percent=0.8,
            edge=edge,
        )[0]

    def sample(self, positive: list, negative: list, seed: int, model: Any = None) -> Tensor:
        """One picture [1,H,W,3] in 0..1, by the loaded model or one made of it."""
        latent = {"samples": torch.zeros(1, *LATENT_SHAPE)}
        (samples,) = self.comfy.call(
            "KSampler",
            model=model or self.model,
            seed=seed,
            steps=self.config.steps,
            cfg=self.config.cfg,
            sampler_name="euler",
            scheduler="normal",
            positive=positive,
            negative=negative,
            latent_image=latent,
            denoise=1.0,
        )
        return self.comfy.call("VAEDecode", samples=samples, vae=self.vae)[0]


def new_workspace(config: Config) -> Path:
    """A ComfyUI with the base and the canny adapters."""
    files = [config.adapters / ADAPTERS[name].name for name in ("plain", "local")]
    return prepare_workspace(
        BUILD / "measure", {"checkpoints": [config.checkpoint], "controlnet": files}
    )


def measure_scene(
    sampler: Sampler, adapters: dict[str, Any], scenes: SceneSet, index: int, seed: int
) -> dict[str, dict[str, float]]:
    """Adherence and freedom of every variant on one scene."""
    scene = subject_scene(scenes, index)
    box, source = subject_mask(scene, index), image_of(scene)
    positive, negative = sampler.text(scene.prompt()), sampler.text("")

    def adherence(image: Tensor) -> dict[str, float]:
        edges, wanted = EDGES(image.movedim(-1, 1)), EDGES(source.movedim(-1, 1))
        match = edge_match(edges, wanted, box[None], sampler.config.tolerance)
        return {"edge F1 inside": match.f1.item()}

    out = {
        CHANCE: adherence(image_of(subject_scene(scenes, (index + 1) % len(scenes.items)))),
        CEILING: adherence(sampler.reconstruct(source)),
    }
    free: Tensor | None = None
    for name, variant in VARIANTS.items():
        conds = (positive, negative)
        if variant is not None:
            adapter, gated = variant
            mask = box if gated else torch.ones_like(box)
            conds = sampler.control(adapters[adapter], source, mask, *conds)
        image = sampler.sample(*conds, seed=1000 * seed + index)
        out[name] = adherence(image)
        if free is None:
            free = image
        else:
            pair = image.movedim(-1, 1), free.movedim(-1, 1)
            out[name]["leak"] = leak(*pair, box[None]).item()
            out[name]["change outside"] = divergence(*pair, 1 - box[None]).item()
    return out


def image_of(scene: Scene) -> Tensor:
    """A scene as an IMAGE [1,H,W,3] in 0..1."""
    return picture(scene).movedim(0, -1)[None]


def summary(values: np.ndarray) -> str:
    """values [seeds, scenes] -> mean, standard error over scenes, spread over seeds."""
    per_scene = values.mean(0)
    error = per_scene.std(ddof=1) / len(per_scene) ** 0.5
    return f"{values.mean():.3f} +- {error:.3f} (seeds {values.mean(1).std():.3f})"


def main() -> None:
    """Measure, print a table, and write all single values."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = read_settings(Config)
    workspace = new_workspace(config)
    scenes = SceneSet(config.data_dir, config.split)
    with torch.inference_mode():
        sampler = Sampler(load_comfy(workspace), config)
        adapters = {name: sampler.adapter(name) for name in ("plain", "local")}
        results = [
            [
                measure_scene(sampler, adapters, scenes, i, seed)
                for i in tqdm(range(len(scenes.items)), desc=f"seed {seed}")
            ]
            for seed in range(config.seeds)
        ]
    log.info(
        "%d held-out objects, %d seeds, tolerance %d px: mean +- standard error over objects",
        len(scenes.items),
        config.seeds,
        config.tolerance,
    )
    for metric in ("edge F1 inside", "leak", "change outside"):
        for name in (CHANCE, *VARIANTS, CEILING):
            if metric in results[0][0][name]:
                values = np.array([[scene[name][metric] for scene in row] for row in results])
                log.info("%-16s %-20s %s", metric, name, summary(values))
    config.output.write_text(json.dumps(results))


if __name__ == "__main__":
    main()
