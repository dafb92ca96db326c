"""How long training takes to an adherence: the usual recipe beside ours.

python -m benchmarks.adherence

Adapters are trained with several numbers of steps, each with a schedule of its own: by the noise
loss alone, as usual, and with min-SNR 1, as our presets have it. Edge F1 inside the mask is that of
validation objects (one seed) at strength 1. What a step takes is measured beside it, in the loop of
diffusers for the usual recipe and in ours, as seconds of the processor in one thread, which a busy
machine changes least. A stopped run goes on where it was.
"""

import logging
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from lab.study.frontier import FrontierSettings, Way, perform_missing, pieces
from testbed.comfyui import BUILD
from training.config.commands import CommandSettings, read_settings
from training.evaluation.intervals import Interval, interval
from training.evaluation.table import Table
from training.evaluation.variants import Variant

from .training import ThroughputSettings, run_apart
from .training import Way as Loop

log = logging.getLogger(__name__)

_ADHERENCE = "edge F1 inside"
_USUAL, _OURS = "plain", "plain-snr"
# What a recipe is trained by.
_LOOPS: dict[str, Loop] = {_USUAL: "diffusers", _OURS: "ours, noise loss"}


class AdherenceSettings(CommandSettings):
    """Settings of the benchmark; every one is a command-line flag."""

    budgets: tuple[int, ...] = Field((125, 250, 500), description="steps of the trainings")
    way: Way = Field("exact@positive", description="to keep control inside")
    rounds: int = Field(3, description="in which steps are timed")
    results_dir: Path = Field(BUILD / "adherence", description="where scores are kept")


@dataclass(frozen=True)
class Point:
    """What a recipe has come to after a number of steps."""

    recipe: str
    steps: int
    seconds: float
    adherence: Interval


def frontier_settings_of(settings: AdherenceSettings, steps: int) -> FrontierSettings:
    """Return the settings of the trainings with one number of steps."""
    return FrontierSettings(
        splits=("validation",),
        seeds=1,
        methods=(_USUAL, _OURS),
        ways=(settings.way,),
        strengths=(1.0,),
        max_train_steps=steps,
        results_dir=settings.results_dir / str(steps),
        jobs=1,
    )


def seconds_of(recipe: str, settings: AdherenceSettings) -> float:
    """Return the processor seconds of a step of a recipe, the median of the rounds."""
    throughput_settings = ThroughputSettings(mixed_precision="no")
    rounds = [run_apart(throughput_settings, _LOOPS[recipe]) for _ in range(settings.rounds)]
    rates = [found["images/processor second"] for found in rounds]
    return throughput_settings.train_batch_size / float(np.median(rates))


def seconds_to(adherence: float, points: Sequence[Point]) -> float:
    """Return when a recipe has an adherence, between its points; NaN if it never has.

    That of its first point, if it has it there: it may have come earlier.
    """
    before = points[0]
    for point in points:
        if point.adherence.mean >= adherence:
            low, high = before.adherence.mean, point.adherence.mean
            share = (adherence - low) / (high - low) if high > low else 1.0
            return before.seconds + share * (point.seconds - before.seconds)
        before = point
    return float("nan")


def main() -> None:
    """Train, evaluate, time, and print how long both take to the usual recipe's adherences."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings = read_settings(AdherenceSettings)
    for steps in settings.budgets:
        perform_missing(frontier_settings_of(settings, steps))
    paths: dict[str, list[Point]] = {}
    for recipe in _LOOPS:
        a_step = seconds_of(recipe, settings)
        log.info("%s: %.2f s a step of %s", recipe, a_step, _LOOPS[recipe])
        for steps in settings.budgets:
            frontier_settings = frontier_settings_of(settings, steps)
            (piece,) = (p for p in pieces(frontier_settings) if p.method.run == recipe)
            scores = Table.read(piece.file(frontier_settings)).per_picture(
                Variant(piece.curve).at(1.0).name, _ADHERENCE
            )
            paths.setdefault(recipe, []).append(
                Point(recipe, steps, steps * a_step, interval(scores))
            )
    for points in paths.values():
        for point in points:
            log.info(
                "%-10s %4d steps, %5.0f s: edge F1 %s",
                point.recipe,
                point.steps,
                point.seconds,
                point.adherence,
            )
    for point in paths[_USUAL]:
        ours = seconds_to(point.adherence.mean, paths[_OURS])
        log.info(
            "edge F1 %.3f: usual %.0f s, ours %.0f s%s, %.1f times as fast",
            point.adherence.mean,
            point.seconds,
            ours,
            " or less" if ours == paths[_OURS][0].seconds else "",
            point.seconds / ours,
        )


if __name__ == "__main__":
    main()
