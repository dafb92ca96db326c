r"""Compare controls: adherence inside the mask, freedom outside, prompts, and picture quality.

python -m training.evaluate --pretrained_model_name_or_path base --eval_data_dir pictures \
    --adapters mine=my-adapter/adapter.safetensors,theirs=other.safetensors@everywhere

FILE is an adapter or a ControlNet, gated by the mask. NAME=FILE@exact blends predictions with and
without control by it instead, @both does both, @everywhere neither; with @positive behind it,
control acts on the prediction for the prompt alone. --outside and --acts_on are for those that say
nothing.

--strengths 0.5,0.75,1,1.5,2,3 draws each adapter's frontier: adherence inside against what it
costs. Each one's best strength is to be chosen on other pictures: evaluate on those first, then
name that frontier.json with --best_from.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, get_args

import torch
from pydantic import Field, PositiveFloat, model_validator

from .config.base_flags import BaseFlags
from .config.commands import read_settings
from .config.processes import end_as_by_hand, process_state
from .config.source_flags import SourceFlags
from .data.checked import check
from .data.condition import PICTURES, Condition
from .data.digests import digest
from .data.records import DatasetError
from .errors import one_sentence
from .evaluation.cases import EVALUATION_SET, Cases, read_evaluation_set
from .evaluation.evaluator import CEILING, CONDITION, FLOOR, SEEN, Evaluator
from .evaluation.frontier import Curve, Frontier
from .evaluation.frontier_report import read_best, write_frontier
from .evaluation.perceptual import PerceptualChange
from .evaluation.progress import Progress
from .evaluation.report import write_report
from .evaluation.scores import ClipScore, InceptionFeatures
from .evaluation.table import Table
from .evaluation.variants import FREE, Outside, Variant
from .loop.parts import DTYPES
from .loop.prepare import open_base
from .loop.sources import source_of
from .loop.trained import read_condition, read_trained
from .models.new_control import check_control
from .models.sample import ActsOn, Sampling
from .models.weights import tensors_digest, weights_digest

log = logging.getLogger(__name__)


def load_variant(
    text: str, column: bool = False, outside: Outside = "gated", acts_on: ActsOn = "both"
) -> Variant:
    """Return the variant of NAME=FILE, which @OUTSIDE and @positive may follow.

    column: whether the data has conditions of its own. outside, acts_on: where the text does not
    say.

    Raises:
        DatasetError, AdapterFileError: it has another form, or the file cannot be read.
    """
    name, _, file = text.partition("=")
    if not file:
        raise DatasetError(f"--adapters has {text!r}; write NAME=FILE.")
    words: dict[str, dict[str, Any]] = {side: {"outside": side} for side in get_args(Outside)}
    words["positive"] = {"acts_on": "positive"}
    how: dict[str, Any] = {"outside": outside, "acts_on": acts_on}
    while (word := file.rpartition("@")[2]) in words:
        file = file.removesuffix(f"@{word}")
        how |= words[word]
    path = Path(file)
    if "@" in path.name and not path.exists():
        raise DatasetError(
            f"--adapters has {text!r}; after the @ only {', '.join(words)} are known."
        )
    found = read_trained(path)
    condition = read_condition(found, path.name, column)
    return Variant(name, found, condition, **how)


class EvaluateSettings(SourceFlags, BaseFlags):
    """Settings of `python -m training.evaluate`; every one is a flag."""

    adapters: list[str] = Field(
        description="NAME=FILE, NAME=FILE@OUTSIDE or NAME=FILE@OUTSIDE@positive, in a list with "
        "commas"
    )
    outside: Outside = Field(
        "gated",
        description="of adapters that do not say: features gated by the mask; exact: blend "
        "predictions with and without control, twice the cost; both; everywhere: neither",
    )
    acts_on: ActsOn = Field(
        "both",
        description="prompts whose predictions are controlled, for adapters that do not say: "
        "positive amplifies control by guidance as well",
    )
    strengths: tuple[PositiveFloat, ...] = Field(
        (), description="of every adapter, in a list with commas: draws their frontiers"
    )
    equal_at: PositiveFloat = Field(
        1.0, description="strength at which the first adapter says what the others are compared at"
    )
    adherence: Literal["edge F1 inside", "colour error inside"] | None = Field(
        None, description="score of the frontiers (default: as the first adapter's condition)"
    )
    best_from: Path | None = Field(
        None, description="frontier.json of other pictures, that tells each adapter's best strength"
    )
    eval_data_dir: Path | None = Field(
        None, description="folder of pictures, of WebDataset shards or of a saved HF data set"
    )
    evaluation_set: Path = Field(
        EVALUATION_SET,
        description="TOML of seeds, prompts and masks (default: the one that is here)",
    )
    masks: list[str] = Field(default_factory=list, description="names from the set (default: all)")
    invert_masks: bool = Field(False, description="the pictures' masks are black = controlled")
    resolution: int | None = Field(
        None, ge=64, multiple_of=64, description="px (default: that of the base)"
    )
    max_pictures: int | None = Field(None, ge=1, description="use the first so many only")
    canny_low: float = Field(100.0, ge=0, description="of the edges that are compared")
    canny_high: float = Field(200.0, ge=0, description="of the same")
    canny_blur: float = Field(0.0, ge=0, description="px, the Gaussian before them; 0: none")
    num_inference_steps: int = Field(
        20, ge=1, le=1000, description="steps in which pictures are sampled"
    )
    guidance_scale: float = Field(5.0, ge=0, description="classifier-free guidance")
    mixed_precision: Literal["no", "bf16", "fp16"] = Field(
        "no", description="of the predictions; scores stay in fp32"
    )
    batch_size: int = Field(4, ge=1, description="pictures that are sampled at once")
    clip_model: str | None = Field(None, description="folder or hub name, for CLIPScore")
    inception_weights: Path | None = Field(
        None, description="torchvision's inception_v3 as .safetensors, for a Frechet distance"
    )
    reference_metrics: bool = Field(
        False,
        description="measure LFMSE, DiffCC and hallucination as the original work does (masks by "
        "the nearest pixel, differences of one gray level), to compare with its numbers",
    )
    direct_leak: bool = Field(
        False,
        description="score how much a step's prediction changes outside on the same latent, which "
        "makes gated adapters cost what exact ones do",
    )
    vgg_weights: Path | None = Field(
        None, description="torchvision's vgg16 as .safetensors, for the perceptual change outside"
    )
    output_dir: Path = Field(Path("evaluation"), description="where the report is written")

    @model_validator(mode="after")
    def _parts_that_fit(self) -> Self:
        self.check_source("eval_data_dir", self.eval_data_dir)
        if not self.strengths and self.best_from is not None:
            raise ValueError("--best_from needs --strengths.")
        if len({f"{strength:g}" for strength in self.strengths}) < len(self.strengths):
            raise ValueError("--strengths has one of them twice, to six digits; name each once.")
        if self.strengths and self.equal_at not in self.strengths:
            raise ValueError(f"--equal_at {self.equal_at:g} is none of --strengths; name one.")
        return self


def main() -> None:
    """Sample, score, and write report.json, report.md and sheets, and the frontier if asked for."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    end_as_by_hand()
    settings = read_settings(EvaluateSettings)
    with one_sentence("Lower --batch_size or --resolution."):
        column = settings.conditioning_image_column is not None
        variants = load_variants(settings.adapters, column, settings.outside, settings.acts_on)
        best = {} if settings.best_from is None else read_best(settings.best_from)
        if settings.best_from is not None:
            _check_best(settings.strengths, variants, best)
        table, progress = evaluate(settings, variants)
        log.info("%s", write_report(table, settings.output_dir))
        if settings.strengths:
            curves = [
                Curve(v.name, {s: v.at(s).name for s in sorted(settings.strengths)})
                for v in variants
            ]
            adherence = settings.adherence or adherence_of(variants[0])
            frontier = Frontier(table, curves, adherence, settings.equal_at, best)
            log.info("%s", write_frontier(frontier, settings.output_dir))
        progress.finish()


def load_variants(
    texts: Sequence[str],
    column: bool = False,
    outside: Outside = "gated",
    acts_on: ActsOn = "both",
) -> list[Variant]:
    """Return the adapters as they are named, each as `load_variant` does.

    Raises:
        DatasetError, AdapterFileError: a name is there twice or not to be had, or a file is amiss.
    """
    found = [load_variant(text, column, outside, acts_on) for text in texts]
    names = [variant.name for variant in found]
    if taken := [name for name in names if name in (FREE, SEEN, CONDITION, CEILING, FLOOR)]:
        raise DatasetError(
            f"--adapters has the name {taken[0]!r}, which reports give to something else; give "
            f"the adapter another one."
        )
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DatasetError(f"--adapters has the name {twice[0]!r} twice; give each one its own.")
    return found


def _check_best(
    strengths: Sequence[float], variants: Sequence[Variant], best: Mapping[str, float]
) -> None:
    """DatasetError if an adapter's best strength is not told, or none of those that are sampled."""
    for name in sorted(variant.name for variant in variants):
        if name not in best:
            raise DatasetError(f"--best_from has no best strength of {name!r}.")
        if best[name] not in strengths:
            raise DatasetError(
                f"--best_from has {best[name]:g} for {name!r}, none of --strengths; add it to them."
            )


def adherence_of(variant: Variant) -> str:
    """Return the name of the score that tells how an adapter is followed inside."""
    condition = variant.condition
    colour = condition is not None and condition.kind == "colour"
    return "colour error inside" if colour else "edge F1 inside"


def evaluate(settings: EvaluateSettings, adapters: Sequence[Variant]) -> tuple[Table, Progress]:
    """Return the scores of adapters, sampled as the settings say, and what they were joined from.

    Raises:
        DatasetError, BaseModelError, AdapterFileError, OSError: something named there is amiss.
    """
    strengths = sorted(settings.strengths)
    variants = [v.at(s) for v in adapters for s in strengths] if strengths else adapters
    source = source_of(settings, settings.eval_data_dir, settings.output_dir)
    chosen = read_evaluation_set(settings.evaluation_set)
    base = open_base(settings)
    for variant in adapters:
        if variant.file is not None:
            check_control(variant.file, base, variant.name)
    resolution = settings.resolution or base.resolution
    folder = settings.output_dir / "cache"
    data = check(source, resolution // 2, settings.max_pictures, folder)
    cases = Cases(data, resolution, chosen, settings.masks, settings.invert_masks)
    judge = None if settings.clip_model is None else ClipScore(settings.clip_model)
    inception = None
    if settings.inception_weights is not None:
        inception = InceptionFeatures(settings.inception_weights)
    perceptual = None if settings.vgg_weights is None else PerceptualChange(settings.vgg_weights)
    parts = digest(data.catalogue.identity, base.unet_name, base.autoencoder_name, base.text_name)
    precision = DTYPES[settings.mixed_precision]
    base.place(process_state().device or torch.device("cpu"), precision)
    sampling = Sampling(settings.num_inference_steps, settings.guidance_scale, precision)
    canny = Condition("canny", settings.canny_low, settings.canny_high, settings.canny_blur)
    evaluation = Evaluator(
        base,
        sampling,
        settings.batch_size,
        judge,
        inception,
        canny,
        perceptual,
        settings.direct_leak,
        settings.reference_metrics,
    )
    judges = [weights_digest(j.network) for j in (judge, inception, perceptual) if j is not None]
    about = _progress_of(settings, variants, chosen, resolution)
    name = digest("evaluation 2", parts, judges, about)
    progress = Progress(settings.output_dir / f"progress-{name}")
    table = evaluation.run(cases, variants, progress=progress)
    table.about = {
        "base": settings.pretrained_model_name_or_path,
        "adapters": {
            v.name: {
                "condition": str(v.condition or PICTURES),
                "gated": v.gated,
                "blended": v.blended,
                "acts_on": v.acts_on,
                "strength": v.strength,
            }
            for v in variants
        },
        "settings": settings.model_dump(mode="json") | {"resolution": resolution},
    }
    return table, progress


def _progress_of(
    settings: EvaluateSettings, variants: Sequence[Variant], chosen: Any, resolution: int
) -> list[Any]:
    """What else the scores of an evaluation depend on: only the same one goes on from them."""
    without = {"output_dir", "eval_data_dir", "adapters", "best_from", "equal_at", "adherence"}
    without |= {"pretrained_model_name_or_path", "pretrained_vae_model_name_or_path"}
    flags = settings.model_dump(mode="json", exclude=without)
    adapters = [
        (v.name, str(v.condition), v.outside, v.acts_on, v.strength, tensors_digest(v.file.tensors))
        for v in variants
        if v.file is not None
    ]
    return [flags, adapters, chosen, resolution]


if __name__ == "__main__":
    main()
