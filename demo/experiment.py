"""The method's claim put to the test on the demo base: one command, resumable, hours on two cores.

python -m demo.experiment

Equal steps, data and seeds for every method. Settings are compared on the validation objects; the
main tables are of the test objects, which nothing was chosen on.
"""

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from training.condition import ConditionKind
from training.config import TrainSettings
from training.evaluate import Evaluation, Variant, load_variant
from training.report import Table, markdown, spread
from training.sample import Sampling
from training.settings import CommandSettings, read_settings
from training.setup import open_base, open_source
from training.train import train

from .base import CHECKPOINT
from .cases import EDGES, OtherObjectJudge, scene_cases
from .comfyui import BUILD
from .data import DEFAULT_FOLDER
from .dataset import Config as SceneConfig
from .dataset import write_dataset
from .scenes import SceneSet
from .train_adapters import demo_settings
from .vocabulary import Split

log = logging.getLogger(__name__)

RESULTS = Path(__file__).parents[1] / "training" / "RESULTS.md"
_PLAIN = {"mask_features": False, "z0_loss_weight": 0.0}
_MASKED = {"z0_loss_weight": 0.0}


@dataclass(frozen=True)
class Method:
    """A way to train (`changes` of the preset) and to apply an adapter. Equal `run`s are shared."""

    label: str
    run: str
    changes: dict[str, Any] = field(default_factory=dict)
    gated: bool = True


def _z0(edge: str, weight: float, schedule: str = "alpha_bar", **more: Any) -> dict[str, Any]:
    return {"edge": edge, "z0_loss_weight": weight, "z0_loss_schedule": schedule, **more}


MAIN = [
    Method("(a) plain adapter, everywhere", "plain", _PLAIN, gated=False),
    Method("(b) plain adapter, gated at sampling", "plain", _PLAIN),
    Method("(c) trained with masked features", "masked", _MASKED),
    Method("(d) c + z0 MSE", "z0", _z0("none", 0.4)),
    Method("(e) c + Sobel z0 loss", "sobel", _z0("sobel", 4.0)),
    Method("(f) c + Laplacian z0 loss", "laplacian", _z0("laplacian", 4.0)),
]
SEARCH = [
    MAIN[2],
    *(
        Method(f"(e) weight {weight:g}", f"sobel-{weight:g}", _z0("sobel", weight))
        for weight in (1.0, 16.0, 64.0)
    ),
    MAIN[4],
    *(
        Method(f"(e) {schedule}, weight {w:g}", f"sobel-{schedule}", _z0("sobel", w, schedule))
        for schedule, w in (
            ("constant", 0.01),
            ("step_unit", 0.01),
            ("time_unit", 0.01),
            ("min_snr", 4.0),
        )
    ),
    Method("(e) mean over pixels", "sobel-pixels", _z0("sobel", 4.0, z0_loss_mean="pixels")),
    Method("(e) mask eroded by a cell", "sobel-eroded", _z0("sobel", 4.0, z0_loss_erode=1)),
    Method("(e) signed gradients", "gradients", _z0("sobel_gradients", 4.0)),
    *(Method(f"(d) weight {w:g}", f"z0-{w:g}", _z0("none", w)) for w in (0.1, 1.6)),
    *(Method(f"(f) weight {w:g}", f"laplacian-{w:g}", _z0("laplacian", w)) for w in (1.0, 16.0)),
]


class Config(CommandSettings):
    """Settings of the experiment; every one is a command-line flag."""

    checkpoint: Path = CHECKPOINT
    data_dir: Path = DEFAULT_FOLDER
    output_dir: Path = BUILD / "experiment"
    results: Path = RESULTS
    conditions: list[ConditionKind] = Field(default_factory=lambda: ["canny", "colour"])
    seeds: int = 3
    max_train_steps: int = 1000
    train_batch_size: int = 32
    num_inference_steps: int = 20
    guidance_scale: float = 4.0
    search: bool = True


class Experiment:
    """Runs and tables under one output folder; what is there is not made again."""

    def __init__(self, config: Config) -> None:
        self._config = config
        settings = self._settings("canny", MAIN[0], 0)
        self._base = open_base(settings)
        self._base.place(torch.device("cpu"), None)

    def table(self, condition: str, methods: list[Method], split: Split, seeds: int) -> list[Table]:
        """One table a training seed, each sampled with a seed of its own."""
        return [self._seed_table(condition, methods, split, seed) for seed in range(seeds)]

    def _settings(self, condition: str, method: Method, seed: int) -> TrainSettings:
        config = self._config
        return demo_settings(
            config.checkpoint,
            config.output_dir / condition / f"{method.run}-seed{seed}",
            condition=condition,
            seed=seed,
            max_train_steps=config.max_train_steps,
            train_batch_size=config.train_batch_size,
            validation_steps=config.max_train_steps,
            num_validation_images=0,
            report_to="none",
            **method.changes,
        )

    def _adapter(self, condition: str, method: Method, seed: int) -> Path:
        settings = self._settings(condition, method, seed)
        path = settings.output_dir / "adapter.safetensors"
        if not path.exists():
            train(settings, open_base(settings), open_source(settings))
            for state in settings.output_dir.glob("state-*.safetensors"):
                state.unlink()
        return path

    def _seed_table(self, condition: str, methods: list[Method], split: Split, seed: int) -> Table:
        files = [self._adapter(condition, method, seed) for method in methods]
        kept = self._config.output_dir / f"{condition}-{split}-seed{seed}.json"
        table = Table.read(kept) if kept.exists() else None
        missing = [
            (method, file)
            for method, file in zip(methods, files, strict=True)
            if table is None or method.label not in table.scores
        ]
        if missing:
            found = self._evaluate(missing, split, seed)
            if table is None:
                table = found
            else:
                table.merge(found)
            table.write(kept)
        assert table is not None
        return table.only(["no control", *(method.label for method in methods)])

    def _evaluate(self, missing: list[tuple[Method, Path]], split: Split, seed: int) -> Table:
        scenes = SceneSet(self._config.data_dir, split)
        variants = []
        for method, file in missing:
            found = load_variant(f"{method.label}={file}")
            variants.append(Variant(method.label, found.adapter, found.condition, method.gated))
        sampling = Sampling(self._config.num_inference_steps, self._config.guidance_scale)
        judge = OtherObjectJudge(scenes)
        evaluation = Evaluation(self._base, sampling, batch_size=16, judge=judge, canny=EDGES)
        return evaluation.run(scene_cases(scenes, [seed]), variants)


def section(title: str, tables: list[Table], reference: str) -> str:
    """One part of the results: the joined table, differences, and the spread over seeds."""
    joined = Table.joined(tables)
    text = f"## {title}\n\n{markdown(joined, reference)}"
    if len(tables) > 1:
        text += f"\nSpread over training seeds (standard deviation of means):\n\n{spread(tables)}"
    return text


def main() -> None:
    """Train what is missing, evaluate, and write RESULTS.md."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = read_settings(Config)
    write_dataset(SceneConfig())
    experiment = Experiment(config)
    parts = []
    if config.search:
        tables = experiment.table("canny", SEARCH, "validation", 1)
        parts.append(section("Search on the validation objects, canny", tables, MAIN[2].label))
    for condition in config.conditions:
        tables = experiment.table(condition, MAIN, "test", config.seeds)
        parts.append(section(f"Test objects, {condition}", tables, MAIN[4].label))
    about = {"steps": config.max_train_steps, "batch": config.train_batch_size}
    about |= {"training seeds": config.seeds, "guidance": config.guidance_scale}
    head = f"# Results\n\nPrinted by `python -m demo.experiment` with {json.dumps(about)}.\n\n"
    config.results.write_text(head + "\n".join(parts))


if __name__ == "__main__":
    main()
