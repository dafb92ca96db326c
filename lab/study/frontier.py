"""Frontiers of adapters on the demo base: adherence inside against what it costs the outside.

python -m lab.study.frontier

Adapters are trained with equal steps, data and seeds; each seed of training is evaluated on a scene
of its own of every held-out object, with control kept inside in several ways and at several
strengths. Best strengths are chosen on validation objects, with the first seed. Scores of every
picture are kept in `lab/results`, adapters in `build/experiment`: a stopped study goes on, seed by
seed. Tables and plots are written to `docs/`.
"""

import logging
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, field_validator

from demo.canny import EDGES
from testbed.comfyui import ROOT
from training.config.commands import read_settings
from training.data.condition import ConditionKind
from training.data.digests import digest
from training.evaluate import load_variant
from training.evaluation.evaluator import Evaluator
from training.evaluation.frontier import Curve, Frontier
from training.evaluation.frontier_report import write_frontier
from training.evaluation.table import Table
from training.evaluation.variants import FREE, Variant
from training.loop.prepare import open_base

from ..world.scenes import SceneSet
from ..world.vocabulary import Split
from .demo_cases import CategoryJudge, scene_cases
from .experiment import ExperimentSettings, Run, Study, prepare, uncontrolled
from .methods import FRONTIER, FRONTIER_SEARCH, Method

log = logging.getLogger(__name__)

# How control is kept inside, as `load_variant` reads it.
Way = Literal["everywhere", "gated", "exact", "both", "gated@positive", "exact@positive"]
_BATCH = 22  # divides the objects of both splits
_METHODS = {method.run: method for method in (*FRONTIER, *FRONTIER_SEARCH)}


class FrontierSettings(ExperimentSettings):
    """Settings of the study; every one is a command-line flag."""

    docs: Path = Field(ROOT / "docs" / "frontier", description="where tables and plots are written")
    conditions: tuple[Literal["canny", "colour"], ...] = Field(
        ("canny",), description="what adapters read"
    )
    max_train_steps: int = Field(250, description="of each training")
    num_inference_steps: int = Field(10, description="steps in which pictures are sampled")
    direct_leak: bool = Field(
        False, description="tell leak of single steps too, in a results_dir of its own"
    )
    ways: tuple[Way, ...] = Field(
        ("gated", "exact", "exact@positive"),
        min_length=1,
        description="to keep control inside, of both prompts or of the positive one; the first is "
        "what the others are held against",
    )
    strengths: tuple[float, ...] = Field(
        (0.5, 1.0, 2.0, 3.0), min_length=1, description="along a frontier"
    )
    methods: tuple[str, ...] = Field(
        tuple(method.run for method in FRONTIER),
        min_length=1,
        description="runs of FRONTIER and FRONTIER_SEARCH in lab.study.methods (default: those of "
        "the main comparison); the first is what the others are held against",
    )

    @field_validator("methods")
    @classmethod
    def _known_methods(cls, runs: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := set(runs) - _METHODS.keys():
            raise ValueError(f"{min(unknown)} is none of {', '.join(_METHODS)}")
        return runs


@dataclass(frozen=True)
class Piece:
    """What is evaluated as a whole: one trained adapter, kept inside in one way, on one split."""

    condition: ConditionKind
    method: Method
    way: Way
    split: Split
    seed: int

    @property
    def curve(self) -> str:
        """Return the name of its curve."""
        return f"{self.method.label}, {self.way.replace('@', ', ')}"

    def run(self, settings: FrontierSettings) -> Run:
        """Return its training, which it shares with others."""
        methods, steps = [self.method], settings.max_train_steps
        study = Study("", self.condition, methods, self.split, 1, steps, (), "frontier")
        return Run(study, self.seed, methods)

    def file(self, settings: FrontierSettings) -> Path:
        """Return where the scores are kept."""
        name = f"frontier-{self.condition}-{self.split}-seed{self.seed}.json"
        return settings.results_dir / name

    def known(self, settings: FrontierSettings) -> bool:
        """Return whether the scores of these strengths at least are there, and still hold."""
        path = self.file(settings)
        found = Table.read(path).stamps.get(self.curve) if path.exists() else None
        if not isinstance(found, dict):
            return False
        strengths = found.pop("strengths", [])
        if not set(settings.strengths) <= set(strengths):
            return False
        return self.run(settings).fits(found, settings)

    def perform(self, settings: FrontierSettings) -> None:
        """Train, unless that is done, evaluate, and keep the scores."""
        run = self.run(settings)
        base = open_base(run.train_settings(settings))
        adapter = load_variant(f"{self.curve}={run.trained(settings, base)}@{self.way}")
        base.place(torch.device("cpu"), None)
        scenes = SceneSet(settings.data_dir, self.split)
        judge = CategoryJudge(scenes, number=self.seed)
        sampling, direct = settings.sampling(), settings.direct_leak
        evaluation = Evaluator(base, sampling, _BATCH, judge, canny=EDGES, direct=direct)
        cases = scene_cases(scenes, [self.seed], number=self.seed)
        stamp = run.stamp(settings)
        depends = [stamp[key] for key in ("base", "scenes", "split", "sampling")]
        free = uncontrolled(settings, digest(*depends, "scene", self.seed), evaluation, cases)
        table = evaluation.run(cases, self.variants(settings, adapter), free)
        table.stamps = {self.curve: stamp | {"strengths": list(settings.strengths)}}
        path = self.file(settings)
        if path.exists():
            before = Table.read(path)
            before.merge(table)
            table = before
        table.write(path)

    def variants(self, settings: FrontierSettings, adapter: Variant) -> list[Variant]:
        """Return the adapter at every strength."""
        return [adapter.at(strength) for strength in settings.strengths]


def pieces(settings: FrontierSettings) -> Iterator[Piece]:
    """Yield all there is to do: seed by seed, so that whole seeds are there; validation first."""
    for condition in settings.conditions:
        for seed in range(settings.seeds):
            for split in ("validation", "test"):
                if split not in settings.splits or (split == "validation" and seed > 0):
                    continue
                for method in (_METHODS[run] for run in settings.methods):
                    for way in settings.ways:
                        yield Piece(condition, method, way, split, seed)


def whole_seeds(settings: FrontierSettings, some: Sequence[Piece]) -> tuple[list[Table], list[str]]:
    """Return tables of the seeds that have every curve of the first seed, and those curves."""
    known = [piece for piece in some if piece.known(settings)]
    first = [piece.curve for piece in known if piece.seed == 0]
    tables = []
    for seed in range(settings.seeds):
        own = {piece.curve: piece for piece in known if piece.seed == seed}
        if first and own.keys() >= set(first):
            tables.append(Table.read(own[first[0]].file(settings)))
    return tables, first


def frontier(
    settings: FrontierSettings,
    tables: Sequence[Table],
    curves: Sequence[str],
    best: dict[str, float],
) -> Frontier:
    """Return the curves over all objects, seeds joined."""
    every = [
        Curve(name, {s: Variant(name).at(s).name for s in sorted(settings.strengths)})
        for name in curves
    ]
    names = [FREE, *(variant for curve in every for variant in curve.variants.values())]
    table = Table.joined([table.only(names) for table in tables])
    colour = settings.conditions == ("colour",)
    return Frontier(table, every, "colour error inside" if colour else "edge F1 inside", best=best)


def report(settings: FrontierSettings) -> str:
    """Return the tables of what is known, written to a folder a condition and split."""
    texts = []
    for condition in settings.conditions:
        best: dict[str, float] = {}
        for split in ("validation", "test"):
            some = [p for p in pieces(settings) if (p.condition, p.split) == (condition, split)]
            tables, curves = whole_seeds(settings, some)
            if not tables:
                continue
            found = frontier(settings, tables, curves, best if best.keys() >= set(curves) else {})
            best = found.best_strengths()
            about = _about(settings, condition, split, tables)
            folder = settings.docs / f"{condition}-{split}"
            text = write_frontier(found, folder, f"{about}\n")
            texts.append(text)
    return "\n".join(texts)


def _about(settings: FrontierSettings, condition: str, split: str, tables: Sequence[Table]) -> str:
    objects, seeds = len(set(tables[0].groups)), len(tables)
    told: dict[str, Any] = {
        "training steps": settings.max_train_steps,
        "batch": settings.train_batch_size,
        "sampling steps": settings.num_inference_steps,
        "guidance": settings.guidance_scale,
    }
    return (
        f"## {condition}, {split} objects\n\n{objects} objects, {seeds} of {settings.seeds} seeds "
        f"of training, each with a scene of its own of every object. Mean [95 % interval over "
        f"objects]. {', '.join(f'{value} {name}' for name, value in told.items())}.\n"
    )


def perform_missing(settings: FrontierSettings) -> None:
    """Train and evaluate what is missing, one thing after the other."""
    missing = [piece for piece in pieces(settings) if not piece.known(settings)]
    log.info("%d evaluations are missing", len(missing))
    if not missing or settings.report_only:
        return
    trainings = [piece.run(settings) for piece in missing]
    prepare(settings, [run for run in trainings if not run.file(settings).exists()])
    for piece in missing:
        log.info("%s, %s objects, seed %d", piece.curve, piece.split, piece.seed)
        piece.perform(settings)


def main() -> None:
    """Train and evaluate what is missing, and write the report."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings = read_settings(FrontierSettings)
    try:
        perform_missing(settings)
    except KeyboardInterrupt:
        raise SystemExit("stopped; the same command goes on where it was") from None
    finally:
        log.info("%s", report(settings))


if __name__ == "__main__":
    main()
