"""Ways to control compared on held-out objects, through the nodes of ComfyUI.

Each scene holds two objects that neither base nor adapters have seen. The condition has the edges
of the whole scene, the mask is a box around the left object, the prompt names the objects'
categories. All settings share their noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from local_control.metrics import divergence, edge_match, leak
from training.cases import Case
from training.report import Table, markdown, spread

from .cases import EDGES, CategoryJudge, scene_cases
from .graph import GraphConfig, Sampler
from .scenes import SceneSet

ADHERENCE = "edge F1 inside"


@dataclass(frozen=True)
class Setting:
    """One way to sample. adapter None: no control; scale 0: no guidance; target None: no loop."""

    label: str
    adapter: str | None = None
    gated: bool = True
    strength: float = 1.0
    scale: float = 0.0
    edge: str = "sobel"
    target: float | None = None


class Study:
    """Every case in every setting, the first of which must be free."""

    def __init__(self, config: GraphConfig, settings: Sequence[Setting]) -> None:
        self._config = config
        self._settings = settings
        self._sampler = Sampler(config)
        names = {setting.adapter for setting in settings if setting.adapter is not None}
        self._adapters = {name: self._sampler.adapter(name) for name in names}
        self._scenes = SceneSet(config.data_dir, config.split)
        self._judges = {
            "controlled object recognised": CategoryJudge(self._scenes, 0),
            "free object recognised": CategoryJudge(self._scenes, 1),
        }

    def run(self) -> list[Table]:
        """Scores, a table a seed."""
        return [self._table(seed) for seed in range(self._config.seeds)]

    def bounds(self) -> dict[str, float]:
        """Adherence that needs no sampling: of chance, and of the autoencoder at its best."""
        found: dict[str, list[Tensor]] = {"another scene": [], "the scene's reconstruction": []}
        cases = scene_cases(self._scenes, [0])
        for case, other in zip(cases, [*cases[1:], cases[0]], strict=True):
            rebuilt = self._sampler.reconstruct(_to_comfy(case.image)).movedim(-1, 1)
            for values, image in zip(found.values(), (other.image[None], rebuilt), strict=True):
                values.append(_adherence(image, case))
        return {name: torch.cat(values).mean().item() for name, values in found.items()}

    def _table(self, seed: int) -> Table:
        cases = scene_cases(self._scenes, [seed])
        table = Table([case.picture for case in cases])
        for case in tqdm(cases, desc=f"seed {seed}"):
            images = [self._picture(case, setting) for setting in self._settings]
            for setting, image in zip(self._settings, images, strict=True):
                table.add(setting.label, self._scores(image, images[0], case))
        return table

    def _picture(self, case: Case, setting: Setting) -> Tensor:
        sampler, source = self._sampler, _to_comfy(case.image)
        conds, model = (sampler.text(case.prompt), sampler.text("")), sampler.model
        if setting.adapter is not None:
            mask = case.mask if setting.gated else torch.ones_like(case.mask)
            adapter = self._adapters[setting.adapter]
            regions = sampler.region(adapter, source, mask, setting.strength)
            if setting.target is not None:
                model, regions = sampler.looped(regions, source, setting.target)
            conds = sampler.apply(regions, *conds)
        if setting.scale:
            model = sampler.guided(source, case.mask, setting.scale, setting.edge)
        seed = 1000 * case.seed + int(case.picture)
        return sampler.sample(*conds, seed=seed, model=model).movedim(-1, 1)

    def _scores(self, image: Tensor, free: Tensor, case: Case) -> dict[str, Tensor]:
        mask = case.mask[None]
        same = torch.equal(image, free)
        out = {
            ADHERENCE: _adherence(image, case),
            "leak": torch.tensor([torch.nan]) if same else leak(image, free, mask),
            "change outside": divergence(image, free, 1 - mask),
        }
        return out | {name: judge(image, [case]) for name, judge in self._judges.items()}


def _to_comfy(image: Tensor) -> Tensor:
    """[C,H,W] -> an IMAGE [1,H,W,C]."""
    return image.movedim(0, -1)[None]


def _adherence(image: Tensor, case: Case) -> Tensor:
    return edge_match(EDGES(image), EDGES(case.image[None]), case.mask[None]).f1


def report(tables: Sequence[Table], reference: str | None = None) -> str:
    """All seeds together, differences to `reference`, and the spread over seeds."""
    text = markdown(Table.joined(tables), reference)
    if len(tables) > 1:
        text += "\nSpread over seeds (standard deviation of means):\n\n" + spread(tables)
    return text
