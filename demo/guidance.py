"""What edge guidance buys on the demo base: adherence against scale, without and with an adapter.

python -m demo.guidance

The reference is the true scene's latent, the mask a box around its left object. Beside adherence
and freedom stands whether the probe still recognises the categories that the prompt names: of the
guided object, and of the free one.
"""

import json
import logging
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from local_control.metrics import divergence, edge_match, leak
from training.cases import Case
from training.report import Table, markdown
from training.settings import read_settings

from .cases import EDGES, CategoryJudge, scene_cases
from .comfyui import BUILD
from .inprocess import load_comfy
from .measure import Config as MeasureConfig
from .measure import Sampler, new_workspace
from .scenes import SceneSet
from .vocabulary import Split

log = logging.getLogger(__name__)


class Config(MeasureConfig):
    """Settings of the study; every one is a command-line flag."""

    split: Split = "validation"
    output: Path = BUILD / "guidance.json"
    scales: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
    edges: tuple[str, ...] = ("sobel_gradients", "sobel")


class Study:
    """Every case sampled with every scale, without and with the local adapter."""

    def __init__(self, sampler: Sampler, config: Config) -> None:
        self._sampler = sampler
        self._config = config
        self._adapters = {"no adapter": None, "local adapter": sampler.adapter("local")}
        scenes = SceneSet(config.data_dir, config.split)
        self._judges = {
            "guided object recognised": CategoryJudge(scenes, 0),
            "free object recognised": CategoryJudge(scenes, 1),
        }
        self.cases = scene_cases(scenes, range(config.seeds))
        self.table = Table([case.picture for case in self.cases])

    def run(self) -> None:
        """Fill the table."""
        for case in tqdm(self.cases):
            free = self._picture(case, None, 0.0, self._config.edges[0])
            for (name, adapter), edge in product(self._adapters.items(), self._config.edges):
                for scale in self._config.scales:
                    image = self._picture(case, adapter, scale, edge)
                    self.table.add(f"{name}, {edge}, {scale:g}", self._scores(image, free, case))

    def _picture(self, case: Case, adapter: Any, scale: float, edge: str) -> Tensor:
        sampler = self._sampler
        source = case.image.movedim(0, -1)[None]
        conds = sampler.text(case.prompt), sampler.text("")
        if adapter is not None:
            conds = sampler.control(adapter, source, case.mask, *conds)
        model = sampler.guided(source, case.mask, scale, edge) if scale else None
        seed = 1000 * case.seed + int(case.picture)
        return sampler.sample(*conds, seed=seed, model=model).movedim(-1, 1)

    def _scores(self, image: Tensor, free: Tensor, case: Case) -> dict[str, Tensor]:
        mask, source = case.mask[None], case.image[None]
        same = torch.equal(image, free)
        out = {
            "edge F1 inside": edge_match(EDGES(image), EDGES(source), mask).f1,
            "leak": torch.tensor([torch.nan]) if same else leak(image, free, mask),
            "change outside": divergence(image, free, 1 - mask),
        }
        return out | {name: judge(image, [case]) for name, judge in self._judges.items()}


def main() -> None:
    """Sample, print a table, and write all single values."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = read_settings(Config)
    with torch.inference_mode():
        study = Study(Sampler(load_comfy(new_workspace(config)), config), config)
        study.run()
    about = {"split": config.split, "cases": len(study.cases), "seeds": config.seeds}
    log.info("%s\n\n%s", json.dumps(about), markdown(study.table))
    study.table.write(config.output)


if __name__ == "__main__":
    main()
