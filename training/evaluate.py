r"""Compare adapters: adherence inside the mask, freedom outside, prompts, and picture quality.

python -m training.evaluate --pretrained_model_name_or_path base --eval_data_dir pictures \
    --adapters mine=my-adapter/adapter.safetensors,theirs=other.safetensors@everywhere

Adapters are gated by the mask; NAME=FILE@everywhere applies one to the whole frame instead.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor
from tqdm import tqdm

from local_control.adapter import Adapter

from .bases import Base, load_base
from .cases import EVALUATION_SET, Case, make_cases, read_evaluation_set
from .checked import check
from .condition import Condition
from .dataset import Columns, DatasetError, ImageFolder
from .denoise import control_features
from .export import read_condition, read_trained
from .plan import VALIDATION, generator
from .processes import process_state
from .report import Table, write_report
from .sample import Sampling, sample
from .scores import (
    ClipScore,
    InceptionFeatures,
    blank_lfmse,
    frechet_distance,
    kernel_distance,
    latent_features,
    score,
)
from .settings import CommandSettings, read_settings
from .setup import USER_ERRORS
from .tensor_cache import digest

log = logging.getLogger(__name__)

FREE = "no control"
Judge = Callable[[Tensor, Sequence[Case]], Tensor]


@dataclass(frozen=True)
class Variant:
    """One way to control: an adapter (None: none), gated by the mask or everywhere.

    condition: what the adapter reads, as its metadata tells it.
    """

    name: str
    adapter: Adapter | None = None
    condition: Condition = field(default_factory=Condition)
    gated: bool = True


def load_variant(text: str) -> Variant:
    """NAME=FILE or NAME=FILE@everywhere.

    Raises:
        DatasetError, AdapterFileError: it has another form, or the file cannot be read.
    """
    name, _, file = text.partition("=")
    if not file:
        raise DatasetError(f"--adapters has {text!r}; write NAME=FILE.")
    path, _, where = file.partition("@")
    if where not in ("", "everywhere"):
        raise DatasetError(f"--adapters has {text!r}; after the @ only 'everywhere' is known.")
    found = read_trained(Path(path))
    return Variant(name, found.build().float(), read_condition(found), gated=not where)


@dataclass(frozen=True)
class Evaluation:
    """How the cases are sampled and judged.

    judge: pictures and their cases -> following [B]. canny: finds the edges that are compared.
    """

    base: Base
    sampling: Sampling
    batch_size: int = 8
    judge: Judge | None = None
    inception: InceptionFeatures | None = None
    canny: Condition = field(default_factory=Condition)

    def run(self, cases: Sequence[Case], variants: Sequence[Variant]) -> Table:
        """Scores of every variant on every case, and distances of whole sets."""
        table = Table([case.picture for case in cases])
        everything = [Variant(FREE), *variants]
        pictures: dict[str, list[Tensor]] = {variant.name: [] for variant in everything}
        features: dict[str, list[Tensor]] = {name: [] for name in ("sources", *pictures)}
        table.blank = torch.cat([self._blank(part) for part in self._batches(cases)])
        for part in tqdm(list(self._batches(cases)), desc="evaluating"):
            sources, masks = _stack(part)
            features["sources"].append(self._features(sources))
            noise = self._noise(part)
            free: Tensor | None = None
            for variant in everything:
                images = self._sample(part, noise, variant)
                free = images if free is None else free
                found = score(images, free, sources, masks, self.canny)
                if self.judge is not None:
                    found["prompt following"] = self.judge(images, part)
                table.add(variant.name, found)
                features[variant.name].append(self._features(images))
                if len(pictures[variant.name]) < table.shown:
                    pictures[variant.name] += list(images)
        self._distances(table, features)
        table.pictures = {
            "condition": [_shown(case) for case in cases[: table.shown]],
            **{name: images[: table.shown] for name, images in pictures.items()},
        }
        return table

    def _batches(self, cases: Sequence[Case]) -> Iterator[Sequence[Case]]:
        for start in range(0, len(cases), self.batch_size):
            yield cases[start : start + self.batch_size]

    def _blank(self, part: Sequence[Case]) -> Tensor:
        return blank_lfmse(*_stack(part), self.canny)

    def _noise(self, part: Sequence[Case]) -> Tensor:
        """The same for all variants and masks of one picture and seed."""
        factor = self.base.pipeline.vae_scale_factor
        channels = int(self.base.unet.config["in_channels"])
        drawn = []
        for case in part:
            size = (channels, case.image.shape[1] // factor, case.image.shape[2] // factor)
            rng = generator(VALIDATION, case.seed, int(digest(case.picture)[:8], 16))
            drawn.append(torch.from_numpy(rng.standard_normal(size, "float32")))
        return torch.stack(drawn).to(self.base.device)

    def _sample(self, part: Sequence[Case], noise: Tensor, variant: Variant) -> Tensor:
        device = self.base.device
        sources, masks = _stack(part)
        features = None
        if variant.adapter is not None:
            condition = variant.condition(sources).to(device)
            gate = masks.to(device) if variant.gated else None
            with torch.no_grad():
                features = control_features(variant.adapter.to(device), condition, gate)
        with self.base.encoders_on(device):
            text = self.base.encode_text([case.prompt for case in part])
            negative = self.base.encode_text([""])
        size = (*sources.shape[-2:], 0, 0, *sources.shape[-2:])
        ids = torch.tensor([size] * len(part), dtype=torch.float32, device=device)
        latents = sample(self.base, noise, text, negative, self.sampling, features, ids)
        with self.base.encoders_on(device):
            return self.base.decode(latents).cpu()

    def _features(self, images: Tensor) -> Tensor:
        if self.inception is not None:
            return self.inception(images)
        with self.base.encoders_on(self.base.device):
            return latent_features(self.base.encode_images(images)).cpu()

    def _distances(self, table: Table, features: Mapping[str, Sequence[Tensor]]) -> None:
        """Distance to the true pictures: Frechet's on Inception, else the kernel's on latents."""
        joined = {name: torch.cat(list(values)) for name, values in features.items()}
        sources = joined.pop("sources")
        for name, values in joined.items():
            if self.inception is not None:
                found = frechet_distance(values, sources)
                table.add_set(name, "Frechet distance, Inception", found)
            else:
                found = kernel_distance(values, sources)
                table.add_set(name, "kernel distance, latents", found)


def _stack(part: Sequence[Case]) -> tuple[Tensor, Tensor]:
    return torch.stack([c.image for c in part]), torch.stack([c.mask for c in part])


def _shown(case: Case) -> Tensor:
    return case.image * (0.35 + 0.65 * case.mask)


class EvaluateSettings(CommandSettings):
    """Settings of `python -m training.evaluate`; every one is a flag."""

    pretrained_model_name_or_path: str
    base_config: Path | None = None
    pretrained_vae_model_name_or_path: str | None = None
    adapters: list[str] = Field(
        description="NAME=FILE or NAME=FILE@everywhere, in a list with commas"
    )
    eval_data_dir: Path
    caption_column: str = "text"
    mask_column: str | None = None
    evaluation_set: Path = EVALUATION_SET
    masks: list[str] = Field(default_factory=list, description="names from the set (default: all)")
    resolution: int = 512
    max_pictures: int | None = None
    canny_low: float = Field(100.0, description="the edges that are compared")
    canny_high: float = 200.0
    canny_blur: float = Field(0.0, ge=0)
    num_inference_steps: int = 20
    guidance_scale: float = 5.0
    batch_size: int = 4
    clip_model: str | None = Field(None, description="folder or hub name, for CLIPScore")
    inception_weights: Path | None = Field(
        None, description="torchvision's inception_v3 as .safetensors, for a Frechet distance"
    )
    output_dir: Path = Path("evaluation")


def main() -> None:
    """Sample, score, and write report.json, report.md and sheets."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = read_settings(EvaluateSettings)
    try:
        variants = [load_variant(text) for text in settings.adapters]
        columns = Columns(caption=settings.caption_column, mask=settings.mask_column)
        source = ImageFolder(settings.eval_data_dir, columns)
        data = check(source, settings.resolution // 2, settings.max_pictures)
        chosen = read_evaluation_set(settings.evaluation_set)
        cases = make_cases(data, settings.resolution, chosen, settings.masks)
        base = load_base(
            settings.pretrained_model_name_or_path,
            settings.base_config,
            settings.pretrained_vae_model_name_or_path,
        )
        judge = None if settings.clip_model is None else ClipScore(settings.clip_model)
        inception = None
        if settings.inception_weights is not None:
            inception = InceptionFeatures(str(settings.inception_weights))
    except USER_ERRORS as error:
        raise SystemExit(str(error)) from error
    base.place(process_state().device or torch.device("cpu"), None)
    sampling = Sampling(settings.num_inference_steps, settings.guidance_scale)
    canny = Condition("canny", settings.canny_low, settings.canny_high, settings.canny_blur)
    evaluation = Evaluation(base, sampling, settings.batch_size, judge, inception, canny)
    table = evaluation.run(cases, variants)
    log.info("%s", write_report(table, settings.output_dir))


if __name__ == "__main__":
    main()
