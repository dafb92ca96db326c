"""A plot of frontiers: adherence against what it costs."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .frontier import JUDGED, Curve, Frontier
from .variants import FREE


def draw(frontier: Frontier, path: Path) -> None:
    """Write adherence against each cost and prompt following, a line a curve, strengths named."""
    shown = frontier.shown()
    against = [*frontier.costs(), *(name for name in (JUDGED,) if name in shown)]
    figure = Figure(figsize=(5 * len(against), 5), layout="constrained")
    panels = figure.subplots(1, len(against), squeeze=False, sharey=True)[0]
    for panel, name in zip(panels, against, strict=True):
        for index, curve in enumerate(frontier.curves):
            _line(panel, frontier, curve, name, f"C{index}")
        for bound in frontier.table.bounds:
            _level(panel, frontier, bound, "dotted")
        if FREE in frontier.table.scores:
            _level(panel, frontier, FREE, "dashed")
        better = "more" if name == JUDGED else "less"
        panel.set_xlabel(f"{name} ({better} is better)")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel(frontier.adherence)
    panels[0].legend(fontsize="small")
    figure.savefig(path, dpi=100)


def _line(panel: Axes, frontier: Frontier, curve: Curve, against: str, colour: str) -> None:
    points = [frontier.point(curve, strength) for strength in curve.variants]
    sides = [[point[name] for point in points] for name in (against, frontier.adherence)]
    x, y = ([value.mean for value in side] for side in sides)
    spans = [[[v.mean - v.low for v in side], [v.high - v.mean for v in side]] for side in sides]
    panel.errorbar(x, y, spans[1], spans[0], color=colour, alpha=0.25, linestyle="none")
    panel.plot(x, y, marker="o", color=colour, label=curve.name)
    for strength, across, up in zip(curve.variants, x, y, strict=True):
        point, aside = (across, up), (3, 3)
        panel.annotate(f"{strength:g}", point, aside, textcoords="offset points", color=colour)


def _level(panel: Axes, frontier: Frontier, name: str, style: str) -> None:
    values = frontier.table.per_picture(name, frontier.adherence)
    mean = values[values == values].mean()
    panel.axhline(mean, color="grey", linestyle=style)
    panel.annotate(name, (0.01, mean), xycoords=("axes fraction", "data"), color="grey", fontsize=8)
