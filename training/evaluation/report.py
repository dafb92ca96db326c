"""Reports of evaluations in Markdown, with a sheet of pictures."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from .intervals import interval, mean_of, paired
from .sheets import sheet
from .table import Table


def markdown(table: Table, *references: str) -> str:
    """Return means with 95 % intervals, and differences to `references`, one row a variant."""
    variants = list(table.scores)
    names = list(table.scores[variants[0]])
    pictures = len(set(table.groups))
    about = f"{len(table.groups)} cases of {pictures} pictures; mean [95 % interval over pictures]."
    if len(table.blank):
        about += f" LFMSE inside of a blank picture: {table.blank.nanmean().item():.4f}."
    lines = [
        about,
        "",
        "| variant | " + " | ".join([*names, *table.set_names()]) + " |",
        "| --- " * (1 + len(names) + len(table.set_names())) + "|",
    ]
    for variant in variants:
        cells = [str(interval(table.per_picture(variant, name))) for name in names]
        cells += [_set(table.sets[variant][name]) for name in table.set_names()]
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    for reference in references:
        lines += ["", f"Paired differences to {reference}:", ""]
        lines += ["| variant | " + " | ".join(names) + " |", "| --- " * (1 + len(names)) + "|"]
        for variant in variants:
            if variant != reference:
                cells = [str(paired(table, variant, reference, name)) for name in names]
                lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _set(value: float) -> str:
    """A number of a whole set, which is none where there are too few pictures."""
    return "too few pictures" if math.isnan(value) else f"{value:.4f}"


def spread(tables: Sequence[Table]) -> str:
    """Return the standard deviation over tables of each score's mean, one row a variant.

    The tables are a sample of those of all seeds.
    """
    names = list(next(iter(tables[0].scores.values())))
    lines = ["| variant | " + " | ".join(names) + " |", "| --- " * (1 + len(names)) + "|"]
    for variant in tables[0].scores:
        means = [[mean_of(np.array(t.scores[variant][name])) for name in names] for t in tables]
        cells = [f"{value:.3f}" for value in np.std(means, axis=0, ddof=1)]
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def write_report(table: Table, folder: Path) -> str:
    """Return the Markdown of report.md, written beside report.json and sheet.png.

    Differences are to the first adapter, which comes after "no control".
    """
    folder.mkdir(parents=True, exist_ok=True)
    variants = list(table.scores)
    text = markdown(table, *(variants[1:2] if len(variants) > 2 else ()))
    (folder / "report.md").write_text(text, encoding="utf-8")
    table.write(folder / "report.json")
    if table.pictures:
        rows = [list(row) for row in zip(*table.pictures.values(), strict=True)]
        Image.fromarray(sheet(rows, list(table.pictures))).save(folder / "sheet.png")
    return text
