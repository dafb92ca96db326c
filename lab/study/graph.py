"""The graph of the example workflow in this process, node by node."""

from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from demo.base import ADAPTERS, CHECKPOINT, LATENT_SHAPE, WEIGHTS
from demo.canny import EDGES
from demo.workspace import prepare_demo_workspace
from testbed.comfyui import BUILD
from testbed.inprocess import load_comfy
from training.config.commands import CommandSettings

from ..world.data import DEFAULT_FOLDER
from ..world.vocabulary import Split


class GraphSettings(CommandSettings):
    """What is loaded, on which objects it is tried, and how it is sampled."""

    data_dir: Path = Field(DEFAULT_FOLDER, description="where the pictures of objects are")
    checkpoint: Path = Field(CHECKPOINT, description="the base as ComfyUI reads it")
    adapters: Path = Field(WEIGHTS, description="folder of the demo's adapters")
    split: Split = Field("test", description="whose objects are used")
    seeds: int = Field(3, description="scenes of each object")
    steps: int = Field(20, description="in which pictures are sampled")
    cfg: float = Field(4.0, description="classifier-free guidance")


class Sampler:
    """The nodes of the graph, each a call. `name`: of its workspace, one for each process."""

    def __init__(self, settings: GraphSettings, name: str) -> None:
        self.comfy = load_comfy(new_workspace(settings, name))
        self.settings = settings
        self.model, self.clip, self.vae = self.comfy.call(
            "CheckpointLoaderSimple", ckpt_name=settings.checkpoint.name
        )

    def reconstruct(self, image: Tensor) -> Tensor:
        """Return a picture [1,H,W,3] through the autoencoder."""
        return self.decode(self.encode(image)["samples"])

    def encode(self, image: Tensor) -> dict:
        """Return the LATENT of a picture [1,H,W,3]."""
        return self.comfy.call("VAEEncode", pixels=image, vae=self.vae)[0]

    def adapter(self, name: str) -> Any:
        """Return a CONTROL_NET."""
        return self.comfy.call("LocalControl_LoadAdapter", adapter_name=ADAPTERS[name].name)[0]

    def text(self, prompt: str) -> list:
        """Return a CONDITIONING."""
        return self.comfy.call("CLIPTextEncode", clip=self.clip, text=prompt)[0]

    def region(
        self,
        control_net: Any,
        scene: Tensor,
        mask: Tensor,
        strength: float = 1.0,
        kind: str = "canny",
        **more: Any,
    ) -> Any:
        """Return one region: edges or colours of `scene` [1,H,W,3] inside `mask` [1,H,W].

        kind: of the condition, as its node calls it. more: further inputs of the node Region.
        """
        (condition,) = self.comfy.call(
            "LocalControl_Condition",
            image=scene,
            kind=kind,
            low_threshold=int(EDGES.low),
            high_threshold=int(EDGES.high),
            blur=EDGES.blur,
            blocks=EDGES.blocks,
        )
        return self.comfy.call(
            "LocalControl_Region",
            control_net=control_net,
            image=condition,
            mask=mask,
            strength=strength,
            **more,
        )[0]

    def apply(
        self, regions: Any, positive: list, negative: list, exact: bool = False
    ) -> tuple[list, list]:
        """Return both conditionings with regions. exact: predictions are blended by the mask."""
        return self.comfy.call(
            "LocalControl_Apply",
            positive=positive,
            negative=negative,
            regions=regions,
            overlap="add",
            outside="exact" if exact else "gated",
        )

    def guided(self, scene: Tensor, mask: Tensor, scale: float, edge: str) -> Any:
        """Return the model with edge guidance towards `scene` [1,H,W,3] inside `mask` [1,H,W]."""
        return self.comfy.call(
            "LocalControl_EdgeGuidance",
            model=self.model,
            reference=self.encode(scene),
            mask=mask,
            scale=scale,
            start_percent=0.0,
            end_percent=0.8,
            edge=edge,
        )[0]

    def sample_by_control(
        self, controlled: list, free: list, negative: list, scale: float, seed: int
    ) -> Tensor:
        """Return a picture [1,H,W,3] in 0..1 whose guidance by control has its own scale.

        What the stock node DualCFGGuider does: to the prediction of the prompt, guided as ever, it
        adds `scale` times what control changes of it. controlled: `free` with regions.
        """
        from comfy.sample import prepare_noise
        from comfy.samplers import calculate_sigmas, sampler_object
        from comfy_extras.nodes_custom_sampler import Guider_DualCFG

        guider = Guider_DualCFG(self.model)
        guider.set_conds(controlled, free, negative)
        guider.set_cfg(scale, self.settings.cfg)
        latent = torch.zeros(1, *LATENT_SHAPE)
        sampling = self.model.get_model_object("model_sampling")
        sigmas = calculate_sigmas(sampling, "normal", self.settings.steps)
        noise = prepare_noise(latent, seed)
        samples = guider.sample(noise, latent, sampler_object("euler"), sigmas, seed=seed)
        return self.decode(samples)

    def decode(self, samples: Tensor) -> Tensor:
        """Return a latent [1,C,H,W] as a picture [1,H,W,3] in 0..1."""
        return self.comfy.call("VAEDecode", samples={"samples": samples}, vae=self.vae)[0]

    def sample(self, positive: list, negative: list, seed: int, model: Any = None) -> Tensor:
        """Return one picture [1,H,W,3] in 0..1, by the loaded model or one made of it."""
        latent = {"samples": torch.zeros(1, *LATENT_SHAPE)}
        (samples,) = self.comfy.call(
            "KSampler",
            model=model or self.model,
            seed=seed,
            steps=self.settings.steps,
            cfg=self.settings.cfg,
            sampler_name="euler",
            scheduler="normal",
            positive=positive,
            negative=negative,
            latent_image=latent,
            denoise=1.0,
        )
        return self.decode(samples["samples"])


def new_workspace(settings: GraphSettings, name: str) -> Path:
    """Return a ComfyUI with the base, and those of the demo's adapters that the folder has."""
    files = [settings.adapters / file.name for file in ADAPTERS.values()]
    files = [file for file in files if file.exists()]
    return prepare_demo_workspace(
        BUILD / "graph" / name, {"checkpoints": [settings.checkpoint], "controlnet": files}
    )
