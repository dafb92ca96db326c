"""The method's claim put to the test on the demo base: one command, resumable, hours on two cores.

python -m lab.study.experiment

Equal steps, data and seeds for every method. Searches are compared on the validation objects; the
main tables are of the test objects, which nothing was chosen on. Scores of every picture are kept
in `lab/results`, and what is there for the same base and settings is not made again: to run
all anew, delete that folder and `build/experiment`.
"""

import json
import logging
import signal
import tomllib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import cache
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from demo.base import CHECKPOINT
from demo.canny import EDGES
from testbed.comfyui import BUILD
from training.cached.store import TensorStore
from training.config.commands import CommandSettings, read_settings
from training.config.processes import ignore_signals
from training.config.run import TrainSettings
from training.data.condition import ConditionKind
from training.data.digests import digest
from training.evaluate import load_variant
from training.evaluation.cases import Case
from training.evaluation.evaluator import Evaluator
from training.evaluation.report import markdown, spread
from training.evaluation.table import Table
from training.evaluation.variants import Variant
from training.loop.prepare import open_base, open_source, prepare_data
from training.models.bases import Base
from training.models.sample import Sampling
from training.train import train

from ..make.probe import PROBE
from ..make.train_adapters import demo_settings
from ..origin import OriginError
from ..world.data import DEFAULT_FOLDER, pictures_digest
from ..world.dataset import ScenesSettings, write_dataset
from ..world.scenes import SceneSet
from ..world.vocabulary import Split
from .demo_cases import CategoryJudge, scene_cases
from .methods import (
    CANNY_SEARCH,
    COLOUR_SEARCH,
    GATED,
    GATED_SNR,
    LONG,
    MAIN,
    MASKED,
    SOBEL,
    Method,
)

log = logging.getLogger(__name__)

LAB = Path(__file__).parents[1]
_PRINTED = "<!-- What follows is printed by `python -m lab.study.experiment`. -->"
# Settings that name places of one machine.
_PATHS = {"output_dir", "cache_dir", "train_data_dir", "pretrained_model_name_or_path"}


class ExperimentSettings(CommandSettings):
    """Settings of the experiment; every one is a command-line flag."""

    checkpoint: Path = Field(CHECKPOINT, description="the base as ComfyUI reads it")
    data_dir: Path = Field(DEFAULT_FOLDER, description="where the pictures of objects are")
    output_dir: Path = Field(BUILD / "experiment", description="where runs are written")
    results_dir: Path = Field(
        LAB / "results", description="where the scores of each picture are kept"
    )
    report: Path = Field(LAB / "RESULTS.md", description="the tables that are written")
    conditions: tuple[Literal["canny", "colour"], ...] = Field(
        ("canny", "colour"), description="to train for now"
    )
    splits: tuple[Literal["validation", "test"], ...] = Field(
        ("validation", "test"),
        description="to train for now; validation: the searches, test: the main comparisons",
    )
    seeds: int = Field(3, ge=1, description="of training, in the main comparisons")
    max_train_steps: int = Field(600, description="of each training in the main comparisons")
    search_steps: int = Field(400, description="of each training in a search")
    long_steps: int = Field(1600, description="of each training in the longer comparison")
    train_batch_size: int = Field(16, description="pictures a step")
    num_inference_steps: int = Field(20, description="steps in which pictures are sampled")
    guidance_scale: float = Field(4.0, description="classifier-free guidance")
    jobs: int = Field(2, ge=1, description="trainings side by side, one thread each")
    report_only: bool = Field(False, description="train nothing, write what is known")

    def sampling(self) -> Sampling:
        """Return how pictures are sampled."""
        return Sampling(self.num_inference_steps, self.guidance_scale)


@dataclass(frozen=True)
class Study:
    """Methods compared on one condition and split, each with the same training seeds.

    references: what the differences are to, the first of them needed. name: of its files, if they
    are not those of the search or the main comparison.
    """

    title: str
    condition: ConditionKind
    methods: Sequence[Method]
    split: Split
    seeds: int
    steps: int
    references: tuple[str, ...]
    name: str = ""


def studies(settings: ExperimentSettings) -> Iterator[Study]:
    """Yield the searches, the main comparison of each condition, and a longer one."""
    title, steps = "Search on the validation objects", settings.search_steps
    canny = f"{title}, canny, learning rate 5e-4"
    yield Study(canny, "canny", CANNY_SEARCH, "validation", 1, steps, (MASKED,))
    colour = f"{title}, colour"
    yield Study(colour, "colour", COLOUR_SEARCH, "validation", 1, steps, (GATED,))
    for kind in ("canny", "colour"):
        title, steps = f"Test objects, {kind}", settings.max_train_steps
        yield Study(title, kind, MAIN, "test", settings.seeds, steps, (SOBEL, GATED_SNR))
    title, steps = "Test objects, canny, longer", settings.long_steps
    yield Study(title, "canny", LONG, "test", 1, steps, (GATED_SNR,), "long")


def wanted(settings: ExperimentSettings) -> Iterator[Study]:
    """Yield the studies to train for now; the report has them all."""
    for study in studies(settings):
        if study.condition in settings.conditions and study.split in settings.splits:
            yield study


def base_digest(checkpoint: Path) -> str:
    """Return a name for the base's weights; the file is read once."""
    return _digest_of(checkpoint, checkpoint.stat().st_mtime_ns)


@cache
def _digest_of(checkpoint: Path, _modified: int) -> str:
    return digest(checkpoint.read_bytes())


@dataclass(frozen=True)
class Run:
    """One training of a study, with the methods that share it."""

    study: Study
    seed: int
    methods: Sequence[Method]

    def train_settings(self, settings: ExperimentSettings) -> TrainSettings:
        """Return what it is trained with, in a folder of its own for each base."""
        study, (method, *_) = self.study, self.methods
        base = base_digest(settings.checkpoint)
        name = f"{method.run}-{study.steps}-seed{self.seed}-{base[:8]}"
        return demo_settings(
            settings.checkpoint,
            settings.output_dir / study.condition / name,
            condition=study.condition,
            seed=self.seed,
            max_train_steps=study.steps,
            train_batch_size=settings.train_batch_size,
            validation_steps=study.steps,
            checkpointing_steps=100,
            num_validation_images=0,
            report_to="none",
            **{"snr_gamma": None} | method.changes,
        )

    def stamp(self, settings: ExperimentSettings) -> dict[str, Any]:
        """Return all that its scores depend on, to be kept beside them."""
        resolved = self.train_settings(settings).resolved()
        return {
            "base": base_digest(settings.checkpoint),
            "probe": digest(PROBE.read_bytes()),
            "pictures": pictures_digest(settings.data_dir),
            "scenes": ScenesSettings().count,
            "split": self.study.split,
            "sampling": [settings.num_inference_steps, settings.guidance_scale],
            "edges": str(EDGES),
            "settings": {key: value for key, value in resolved.items() if key not in _PATHS},
        }

    def fits(self, stamp: object, settings: ExperimentSettings) -> bool:
        """Return whether scores with this stamp are those that the run would get."""
        now = self.stamp(settings)
        if not isinstance(stamp, dict) or stamp | {"settings": now["settings"]} != now:
            return False
        return not set(self.train_settings(settings).differences(stamp["settings"])) - _PATHS

    def file(self, settings: ExperimentSettings) -> Path:
        """Return where the adapter is once it is trained."""
        return self.train_settings(settings).output_dir / "adapter.safetensors"

    def trained(self, settings: ExperimentSettings, base: Base) -> Path:
        """Return the adapter's file, trained unless that is done; a stopped training goes on."""
        train_settings, path = self.train_settings(settings), self.file(settings)
        refuse_other(train_settings)
        if not path.exists():
            train(train_settings, base, open_source(train_settings))
            for state in train_settings.output_dir.glob("state-*.safetensors"):
                state.unlink()
        return path

    def perform(self, settings: ExperimentSettings) -> Table:
        """Return the scores, trained for and evaluated unless that is done."""
        base = open_base(self.train_settings(settings))
        found = load_variant(f"adapter={self.trained(settings, base)}")
        base.place(torch.device("cpu"), None)
        scenes = SceneSet(settings.data_dir, self.study.split)
        variants = [
            Variant(method.label, found.file, found.condition, method.outside)
            for method in self.methods
        ]
        judge = CategoryJudge(scenes)
        evaluation = Evaluator(base, settings.sampling(), batch_size=16, judge=judge, canny=EDGES)
        cases = scene_cases(scenes, [self.seed])
        table = evaluation.run(cases, variants, self._uncontrolled(settings, evaluation, cases))
        stamp = self.stamp(settings)
        table.stamps = {method.label: stamp for method in self.methods}
        return table

    def _uncontrolled(
        self, settings: ExperimentSettings, evaluation: Evaluator, cases: Sequence[Case]
    ) -> Tensor:
        """Pictures without control, sampled by the first run of a split and seed for all others."""
        stamp = self.stamp(settings)
        depends = [stamp[key] for key in ("base", "scenes", "split", "sampling")]
        return uncontrolled(settings, digest(*depends, self.seed), evaluation, cases)


def uncontrolled(
    settings: ExperimentSettings, name: str, evaluation: Evaluator, cases: Sequence[Case]
) -> Tensor:
    """Return pictures without control, kept under a name of all that they depend on."""
    kept = TensorStore(settings.output_dir / "uncontrolled")
    found = kept.get(name)
    if found is None:
        found = {"pictures": evaluation.uncontrolled(cases)}
        with kept.writer() as writer:
            writer.put(name, found)
    return found["pictures"]


def refuse_other(settings: TrainSettings) -> None:
    """Raise OriginError if a folder's run had other settings, so that its adapter is not ours."""
    written = settings.output_dir / "config.toml"
    names = settings.differences(tomllib.loads(written.read_text())) if written.exists() else []
    if names:
        raise OriginError(
            f"{settings.output_dir} is of a run with another {', another '.join(sorted(names))}; "
            f"delete it to have it trained anew."
        )


def runs(study: Study) -> Iterator[Run]:
    """Yield every training of a study, seed by seed."""
    shared: dict[str, list[Method]] = {}
    for method in study.methods:
        shared.setdefault(method.run, []).append(method)
    for seed in range(study.seeds):
        for methods in shared.values():
            yield Run(study, seed, methods)


class Results:
    """The tables of all studies on disk, one a study and seed."""

    def __init__(self, settings: ExperimentSettings) -> None:
        self._settings = settings

    def table(self, study: Study, seed: int) -> Table | None:
        """Return what is known, perhaps of another base or other settings; None if nothing."""
        path = self._path(study, seed)
        return Table.read(path) if path.exists() else None

    def has(self, run: Run) -> bool:
        """Return whether the scores of a run are there and still hold."""
        table = self.table(run.study, run.seed)
        if table is None:
            return False
        return all(run.fits(table.stamps.get(m.label), self._settings) for m in run.methods)

    def add(self, run: Run, found: Table) -> None:
        """Keep the scores of a run."""
        table = self.table(run.study, run.seed)
        if table is None:
            table = found
        else:
            table.merge(found)
        table.write(self._path(run.study, run.seed))

    def section(self, study: Study) -> str:
        """Return one part of the report: the joined table, differences, the spread over seeds.

        Of an unfinished study only the seeds are shown that have the most methods.
        """
        found = [self._valid(study, seed) for seed in range(study.seeds)]
        tables = [table for table in found if table is not None]
        size = max((len(table.scores) for table in tables), default=0)
        tables = [table for table in tables if len(table.scores) == size]
        text = f"## {study.title}\n\n{study.steps} steps. "
        if not tables or study.references[0] not in tables[0].scores:
            return text + "Not run yet.\n"
        if size <= len(study.methods) or len(tables) < study.seeds:
            text += f"Not finished: {len(tables)} of {study.seeds} seeds, "
            text += f"{size - 1} of {len(study.methods)} methods. "
        known = [label for label in study.references if label in tables[0].scores]
        text += markdown(Table.joined(tables), *known)
        if len(tables) > 1:
            text += (
                "\nSpread over seeds of training and sampling (standard deviation of means):\n\n"
            )
            text += spread(tables)
        return text

    def _valid(self, study: Study, seed: int) -> Table | None:
        """The scores of a seed that still hold."""
        table = self.table(study, seed)
        if table is None:
            return None
        done = [run for run in runs(study) if run.seed == seed and self.has(run)]
        labels = {method.label for run in done for method in run.methods}
        names = [method.label for method in study.methods if method.label in labels]
        return table.only(["no control", *names]) if names else None

    def _path(self, study: Study, seed: int) -> Path:
        name = "-".join(filter(None, [study.condition, study.split, study.name, f"seed{seed}"]))
        return self._settings.results_dir / f"{name}.json"


def prepare(settings: ExperimentSettings, missing: Sequence[Run]) -> None:
    """Write the scenes and the caches once, before the trainings share them."""
    write_dataset(ScenesSettings(data_dir=settings.data_dir))
    for run in {run.study.condition: run for run in missing}.values():
        train_settings = run.train_settings(settings)
        prepare_data(train_settings, open_base(train_settings), open_source(train_settings))


def main() -> None:
    """Train and evaluate what is missing, keep every score, and write the report."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # As Ctrl+C: the trainings are told to save and waited for.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings = read_settings(ExperimentSettings)
    results = Results(settings)
    missing = [run for study in wanted(settings) for run in runs(study) if not results.has(run)]
    log.info("%d trainings are missing", len(missing))
    if settings.report_only:
        missing = []
    if missing:
        prepare(settings, missing)
    try:
        perform(settings, missing, results)
    except KeyboardInterrupt:
        raise SystemExit("stopped; the same command goes on where it was") from None
    finally:
        about = {"batch": settings.train_batch_size, "training seeds": settings.seeds}
        about |= {"guidance": settings.guidance_scale}
        sections = [results.section(study) for study in studies(settings)]
        write_report(settings.report, "\n".join([f"Settings: {json.dumps(about)}.\n", *sections]))


def perform(settings: ExperimentSettings, missing: Sequence[Run], results: Results) -> None:
    """Train and evaluate, some runs side by side, and keep each one's scores when it is done.

    A run is handed out only when a process is free, so that nothing starts after a stop.
    """
    queue = deque(missing)
    pending: dict[Future[Table], Run] = {}
    with ProcessPoolExecutor(settings.jobs, get_context("spawn"), _start_worker) as pool:
        try:
            while queue or pending:
                while queue and len(pending) < settings.jobs:
                    run = queue.popleft()
                    pending[pool.submit(_perform, run, settings)] = run
                done, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    results.add(pending.pop(future), future.result())
        except BaseException:
            for process in active_children():
                process.terminate()
            raise


def _start_worker() -> None:
    """Signals end a run, never a process of the pool: the pool waits for ever for lost ones."""
    torch.set_num_threads(1)
    ignore_signals(0)


def _perform(run: Run, settings: ExperimentSettings) -> Table:
    """In a process of the pool: a training that is told to stop saves, an evaluation is dropped."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    try:
        return run.perform(settings)
    finally:
        ignore_signals(0)


def write_report(path: Path, tables: str) -> None:
    """Replace the tables of the report; what people have written above them stays."""
    written = path.read_text().split(_PRINTED)[0] if path.exists() else "# Results\n\n"
    path.write_text(f"{written}{_PRINTED}\n\n{tables}")


if __name__ == "__main__":
    main()
