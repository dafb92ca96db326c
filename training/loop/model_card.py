"""The model card of a run: what the adapter reads, how it was made, and how to make it again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData

from ..config.command_line import is_path
from ..data.files import write_text
from .validation import SHEETS

# By kind of control: what it is called, its tag on the hub, and what diffusers opens it with.
_KINDS = {
    "adapter": ("An adapter", "t2i-adapter", "T2IAdapter"),
    "controlnet": ("A ControlNet", "controlnet", "ControlNetModel"),
}
_COLUMNS = (
    "From left to right: what the model sees (the picture, darker where nothing is controlled, "
    "with its condition in green), without control, with control, and the edges of that, green "
    "inside the mask and red outside."
)


@dataclass(frozen=True)
class Recipe:
    """What a run was asked for.

    title: of the card. control: adapter or controlnet. base: folder, file or name on the hub.
    dataset: where it is, or its name on the hub; on_hub: whether it is there. license: by the hub's
    names. command: makes the run again.
    """

    title: str
    control: str
    base: str
    dataset: str
    on_hub: bool
    license: str | None
    command: str


@dataclass(frozen=True)
class Made:
    """What a finished run tells of itself.

    metadata: that of the control's file. pictures, held_out: how many. measured: numbers of the
    last validation by name. sheets: pictures in the run's folder.
    """

    metadata: Mapping[str, str]
    pictures: int
    held_out: int
    measured: Mapping[str, float]
    sheets: Sequence[Path]


def newest_sheets(folder: Path) -> list[Path]:
    """Return the newest sheet of each kind among those of a run's validations."""
    found = [sorted(folder.glob(f"{name}-*.png"))[-1:] for name in SHEETS.values()]
    return [path for newest in found for path in newest]


def write_model_card(recipe: Recipe, made: Made, folder: Path) -> Path:
    """Return the path of the `README.md` that is written beside the control in a run's folder.

    Raises:
        WriteError: as `write_text` says.
    """
    path = folder / "README.md"
    write_text(path, model_card(recipe, made))
    return path


def model_card(recipe: Recipe, made: Made) -> str:
    """Return the card: front matter for the hub, and Markdown. It has no date and no path."""
    kind, tag, opened_with = _KINDS[recipe.control]
    local = is_path(recipe.base)
    dataset = recipe.dataset if recipe.on_hub else Path(recipe.dataset).name
    about = ModelCardData(
        base_model=None if local else recipe.base,
        datasets=recipe.dataset if recipe.on_hub else None,
        license=recipe.license,
        library_name="diffusers",
        pipeline_tag="text-to-image",
        tags=[tag, "local-control", "comfyui"],
    )
    told = made.metadata
    rows = {
        "base": Path(recipe.base).name if local else recipe.base,
        "reads": told["local_control.condition"],
        "trained with": told["local_control.method"],
        "data": f"{dataset}: {made.pictures} pictures, and {made.held_out} held out",
        "steps": told["local_control.steps"],
        "licence": recipe.license or "not stated; those of the base and of the data may bind it",
    }
    rows |= {name: f"{value:.4f}" for name, value in made.measured.items()}
    pictures = [f"![{path.stem}]({path.parent.name}/{path.name})" for path in made.sheets]
    sections = [
        f"---\n{about.to_yaml()}\n---",
        f"# {recipe.title}",
        f"{kind} that controls one region of a picture by a condition and leaves the rest to the "
        "prompt, trained with Local Control (arXiv 2602.01991).",
        _table(rows),
        *([*pictures, _COLUMNS] if pictures else []),
        "## Use",
        f"ComfyUI: put `best.safetensors` (the lowest held-out loss) or `{recipe.control}."
        "safetensors` (the last step) into `models/controlnet`, and choose it in *Load Local "
        "Adapter*, or in any node that loads a ControlNet. diffusers: `python -m training.export` "
        f"writes a folder for `{opened_with}.from_pretrained`.",
        "## Training",
        f"```sh\n{recipe.command}\n```",
        "## Metadata",
        _table(dict(sorted(told.items()))),
    ]
    return "\n\n".join(sections) + "\n"


def _table(rows: Mapping[str, Any]) -> str:
    lines = [f"| {name} | {str(value).replace('|', '/')} |" for name, value in rows.items()]
    return "\n".join(["| | |", "| --- | --- |", *lines])
