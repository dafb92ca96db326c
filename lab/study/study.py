"""Ways to control compared on held-out objects, through the nodes of ComfyUI.

Each scene holds two objects that neither base nor adapters have seen. The condition has the edges
of the whole scene, the mask is a box around the left object, the prompt names the objects'
categories. All arms share their noise. Objects are shared out to processes of one thread each,
which use cores better than threads do here. Scores are kept part by part, named by weights and
arms: a stopped study goes on. To measure changed code, delete `build/study`.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from tqdm import tqdm

from demo.base import ADAPTERS, CONDITIONS
from demo.canny import EDGES
from local_control.conditions import colour
from local_control.metrics import divergence, edge_match, leak
from testbed.comfyui import BUILD
from training.data.digests import digest
from training.evaluation.cases import Case
from training.evaluation.frontier import JUDGED
from training.evaluation.intervals import paired
from training.evaluation.report import markdown, spread
from training.evaluation.table import Table

from ..make.probe import PROBE
from ..world.data import pictures_digest
from ..world.scenes import SceneSet
from ..world.vocabulary import load_items
from .demo_cases import CategoryJudge, scene_cases
from .graph import GraphSettings, Sampler

ADHERENCE = "edge F1 inside"
COLOURS = "colour error inside"
RECOGNISED = "controlled object recognised"
_PART = 11  # objects


@dataclass(frozen=True)
class Arm:
    """One arm of a study: a way to sample. adapter None: no control; scale 0: no guidance.

    outside: gated and exact as the node Apply has them; everywhere: the mask is all white.
    region: further inputs of the node Region. control_scale: of a guidance by control of its own;
    None: control is part of the guidance by the prompt.
    """

    label: str
    adapter: str | None = None
    outside: Literal["gated", "exact", "everywhere"] = "gated"
    strength: float = 1.0
    scale: float = 0.0
    edge: str = "sobel"
    region: Mapping[str, Any] = field(default_factory=dict)
    control_scale: float | None = None


class StudySettings(GraphSettings):
    """What every study can be told by flags."""

    parts_dir: Path = Field(BUILD / "study", description="where scores are kept, part by part")
    jobs: int = Field(2, ge=1, description="processes side by side, one thread each")


@dataclass(frozen=True)
class Part:
    """Some objects of the split with one seed: what is scored and kept as a whole."""

    seed: int
    objects: range

    def file(self, folder: Path, name: str) -> Path:
        """Return where its scores are kept; `name` is the study's."""
        return folder / f"{name}-seed{self.seed}-object{self.objects.start}.json"


def parts(settings: GraphSettings) -> list[Part]:
    """Return every object of the split with every seed, in order."""
    objects = range(len(load_items(settings.split)))
    starts = objects[::_PART]
    return [
        Part(seed, objects[start : start + _PART])
        for seed in range(settings.seeds)
        for start in starts
    ]


def run(settings: StudySettings, arms: Sequence[Arm]) -> list[Table]:
    """Return a table a seed: every object in every arm, the first of which must be free."""
    name = study_digest(settings, arms)
    files = {part: part.file(settings.parts_dir, name) for part in parts(settings)}
    missing = [part for part, file in files.items() if not file.exists()]
    settings.parts_dir.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(settings.jobs, get_context("spawn")) as pool:
        jobs = [
            pool.submit(_work, settings, arms, missing[job :: settings.jobs], name, job)
            for job in range(min(settings.jobs, len(missing)))
        ]
        for job in jobs:
            job.result()
    return [
        Table.joined([Table.read(file) for part, file in files.items() if part.seed == seed])
        for seed in range(settings.seeds)
    ]


def study_digest(settings: StudySettings, arms: Sequence[Arm]) -> str:
    """Return a name for what the scores depend on: weights, pictures, sampling and arms."""
    names = sorted({arm.adapter for arm in arms if arm.adapter is not None})
    adapters = [settings.adapters / ADAPTERS[name].name for name in names]
    sampling = [
        pictures_digest(settings.data_dir),
        settings.split,
        settings.steps,
        settings.cfg,
        str(EDGES),
        (ADHERENCE, COLOURS, RECOGNISED),
    ]
    files = [settings.checkpoint, PROBE, *adapters]
    weights = [digest(file.read_bytes()) for file in files]
    return digest(weights, sampling, [astuple(arm) for arm in arms])[:8]


def _work(
    settings: StudySettings, arms: Sequence[Arm], parts: Sequence[Part], name: str, job: int
) -> None:
    torch.set_num_threads(1)
    with torch.inference_mode():
        worker = Worker(settings, arms, f"job{job}")
        for part in tqdm(parts, desc=f"job {job}", position=job):
            worker.table(part).write(part.file(settings.parts_dir, name))


@torch.inference_mode()
def bounds(settings: GraphSettings) -> dict[str, float]:
    """Return adherence that needs no sampling: of chance, and of the autoencoder at its best."""
    found: dict[str, list[Tensor]] = {"another scene": [], "the scene's reconstruction": []}
    cases = scene_cases(SceneSet(settings.data_dir, settings.split), [0])
    sampler = Sampler(settings, "bounds")
    for case, other in zip(cases, [*cases[1:], cases[0]], strict=True):
        rebuilt = sampler.reconstruct(_to_comfy(case.image)).movedim(-1, 1)
        for values, image in zip(found.values(), (other.image[None], rebuilt), strict=True):
            values.append(_adherence(image, case))
    return {name: torch.cat(values).mean().item() for name, values in found.items()}


class Worker:
    """Samples and scores cases in every arm, in this process. `name`: of its workspace."""

    def __init__(self, settings: GraphSettings, arms: Sequence[Arm], name: str) -> None:
        self._arms = arms
        self._sampler = Sampler(settings, name)
        names = {arm.adapter for arm in arms if arm.adapter is not None}
        self._adapters = {name: self._sampler.adapter(name) for name in names}
        self._scenes = SceneSet(settings.data_dir, settings.split)
        self._judges = {
            RECOGNISED: CategoryJudge(self._scenes, 0),
            JUDGED: CategoryJudge(self._scenes, 1),
        }

    def table(self, part: Part) -> Table:
        """Return the scores of one part."""
        every = scene_cases(self._scenes, [part.seed])
        cases = [every[index] for index in part.objects]
        table = Table([case.picture for case in cases])
        for case in cases:
            images = [self._picture(case, arm) for arm in self._arms]
            for arm, image in zip(self._arms, images, strict=True):
                table.add(arm.label, self._scores(image, images[0], case))
        return table

    def _picture(self, case: Case, arm: Arm) -> Tensor:
        sampler, source = self._sampler, _to_comfy(case.image)
        conds, model = (sampler.text(case.prompt), sampler.text("")), sampler.model
        seed = 1000 * case.seed + int(case.picture)
        if arm.adapter is not None:
            everywhere = arm.outside == "everywhere"
            mask = torch.ones_like(case.mask) if everywhere else case.mask
            adapter = self._adapters[arm.adapter]
            kind = CONDITIONS[arm.adapter]
            regions = sampler.region(adapter, source, mask, arm.strength, kind, **arm.region)
            free, conds = conds, sampler.apply(regions, *conds, exact=arm.outside == "exact")
            if arm.control_scale is not None:
                scale = arm.control_scale
                image = sampler.sample_by_control(conds[0], *free, scale=scale, seed=seed)
                return image.movedim(-1, 1)
        if arm.scale:
            model = sampler.guided(source, case.mask, arm.scale, arm.edge)
        return sampler.sample(*conds, seed=seed, model=model).movedim(-1, 1)

    def _scores(self, image: Tensor, free: Tensor, case: Case) -> dict[str, Tensor]:
        mask = case.mask[None]
        same = torch.equal(image, free)
        out = {
            ADHERENCE: _adherence(image, case),
            COLOURS: divergence(colour(image), colour(case.image[None]), mask),
            "leak": torch.tensor([torch.nan]) if same else leak(image, free, mask),
            "change outside": divergence(image, free, 1 - mask),
        }
        return out | {name: judge(image, [case]) for name, judge in self._judges.items()}


def _to_comfy(image: Tensor) -> Tensor:
    """[C,H,W] -> an IMAGE [1,H,W,C]."""
    return image.movedim(0, -1)[None]


def _adherence(image: Tensor, case: Case) -> Tensor:
    return edge_match(EDGES(image), EDGES(case.image[None]), case.mask[None]).f1


def report(tables: Sequence[Table]) -> str:
    """Return all seeds together, and the spread over seeds."""
    text = markdown(Table.joined(tables))
    if len(tables) > 1:
        text += "\nSpread over seeds (standard deviation of means):\n\n" + spread(tables)
    return text


def differences(
    tables: Sequence[Table], pairs: Sequence[tuple[str, str]], adherence: str = ADHERENCE
) -> str:
    """Return paired differences of each first arm to the second, a line a pair."""
    joined = Table.joined(tables)
    lines = []
    for arm, reference in pairs:
        names = (adherence, "leak", RECOGNISED)
        found = [f"{name} {paired(joined, arm, reference, name)}" for name in names]
        lines.append(f"{arm}, less {reference}: {', '.join(found)}")
    return "\n".join(lines)
