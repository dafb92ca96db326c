"""Variants of control on the same cases: sampled, judged, scored."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import torch
from torch import Tensor
from tqdm import tqdm

from local_control.control_file import ControlFile

from ..data.condition import Condition
from ..data.digests import number
from ..data.random_streams import VALIDATION, generator
from ..models.bases import Base
from ..models.controls import Control
from ..models.new_control import load_control
from ..models.sample import Sampling, StepChanges, sample
from .cases import Case, first_of_each, spread_out
from .perceptual import PerceptualChange
from .scores import (
    DIRECT,
    OF_CHANGE,
    PERCEPTUAL,
    InceptionFeatures,
    blank_lfmse,
    frechet_distance,
    kernel_distance,
    latent_features,
    score,
)
from .sheets import darkened
from .table import Table

FREE = "no control"
CEILING = "true picture through the autoencoder"
FLOOR = "another true picture"
_SHOWN = 12
Judge = Callable[[Tensor, Sequence[Case]], Tensor]
Outside = Literal["gated", "exact", "both", "everywhere"]


@dataclass(frozen=True)
class Variant:
    """One way to control: by a file (None: not at all), at a strength, and with the outside free.

    condition: what the control reads, as its metadata tells it; None: the cases' own conditions.
    outside: gated: features are multiplied by the mask; exact: predictions with whole features and
    without any are blended by it, at twice the cost; both: such predictions with gated features;
    everywhere: nothing keeps control from the outside.
    """

    name: str
    file: ControlFile | None = None
    condition: Condition | None = field(default_factory=Condition)
    outside: Outside = "gated"
    strength: float = 1.0

    @property
    def gated(self) -> bool:
        """Whether features are multiplied by the mask."""
        return self.outside in ("gated", "both")

    @property
    def blended(self) -> bool:
        """Whether predictions with and without control are blended by the mask."""
        return self.outside in ("exact", "both")

    def at(self, strength: float) -> Self:
        """Return the same at another strength, with a name of its own."""
        return replace(self, name=f"{self.name}, strength {strength:g}", strength=strength)


@dataclass(frozen=True)
class Evaluation:
    """How the cases are sampled and judged.

    judge: pictures and their cases -> following [B]. canny: finds the edges that are compared.
    direct: tell the leak of single steps as well, which the gated then pay for as the exact do.
    """

    base: Base
    sampling: Sampling
    batch_size: int = 8
    judge: Judge | None = None
    inception: InceptionFeatures | None = None
    canny: Condition = field(default_factory=Condition)
    perceptual: PerceptualChange | None = None
    direct: bool = False
    _controls: dict[int, tuple[ControlFile, Control]] = field(
        default_factory=dict, init=False, repr=False
    )

    def run(
        self, cases: Sequence[Case], variants: Sequence[Variant], free: Tensor | None = None
    ) -> Table:
        """Scores of every variant on every case, and distances of whole sets.

        free: what `uncontrolled` returned for the same cases, where it is known already.
        """
        table = Table([case.picture for case in cases])
        everything = [Variant(FREE), *variants]
        pictures: dict[str, list[Tensor]] = {variant.name: [] for variant in everything}
        features: dict[str, list[Tensor]] = {name: [] for name in pictures}
        table.blank = torch.cat([self._blank(part) for part in self._batches(cases)])
        self._bounds(table, cases)
        shown = set(spread_out(cases, _SHOWN))
        for start in tqdm(range(0, len(cases), self.batch_size), desc="evaluating"):
            part = cases[start : start + self.batch_size]
            sources, masks = _stack(part)
            if free is None:
                without = self._sample(part, everything[0])
            else:
                without = free[start : start + self.batch_size]
            for variant in everything:
                changes = StepChanges(masks.to(self.base.device)) if self.direct else None
                if variant is everything[0]:
                    images = without
                else:
                    images = self._sample(part, variant, changes)
                found = score(images, without, sources, masks, self.canny)
                if changes is not None:
                    found[DIRECT] = changes.leak.cpu().expand(len(part))
                if self.perceptual is not None:
                    found[PERCEPTUAL] = self.perceptual(images, without, 1 - masks)
                if self.judge is not None:
                    found["prompt following"] = self.judge(images, part)
                table.add(variant.name, found)
                features[variant.name].append(self._features(images))
                pictures[variant.name] += [
                    image for index, image in enumerate(images, start) if index in shown
                ]
        self._distances(table, cases, features)
        seen = [darkened(cases[i].image, cases[i].mask) for i in sorted(shown)]
        table.pictures = {"condition": seen, **pictures}
        return table

    def uncontrolled(self, cases: Sequence[Case]) -> Tensor:
        """The pictures [N,3,H,W] in 0..1 that the cases, all of one size, get without control."""
        variant = Variant(FREE)
        return torch.cat([self._sample(part, variant) for part in self._batches(cases)])

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
            rng = generator(VALIDATION, case.seed, number(case.picture))
            drawn.append(torch.from_numpy(rng.standard_normal(size, "float32")))
        return torch.stack(drawn).to(self.base.device)

    def _sample(
        self, part: Sequence[Case], variant: Variant, changes: StepChanges | None = None
    ) -> Tensor:
        device = self.base.device
        sources, masks = _stack(part)
        masks = masks.to(device)
        acting = None
        if variant.file is not None:
            condition = _condition(variant.file, variant.condition, part, sources).to(device)
            gate = masks if variant.gated else None
            with torch.no_grad():
                control = self._control(variant.file, variant.name)
                acting = control.on(condition, gate, variant.strength)
        with self.base.text_encoders_on(device):
            text = self.base.encode_text([case.prompt for case in part])
            negative = self.base.encode_text([""])
        size = (*sources.shape[-2:], 0, 0, *sources.shape[-2:])
        ids = torch.tensor([size] * len(part), dtype=torch.float32, device=device)
        noise = self._noise(part)
        blend = masks if variant.blended else None
        latents = sample(
            self.base, noise, text, negative, self.sampling, acting, ids, blend, changes
        )
        with self.base.autoencoder_on(device):
            return self.base.decode(latents).cpu()

    def _control(self, file: ControlFile, name: str) -> Control:
        """The control of a file on the base's device, built once however many variants have it."""
        known = self._controls.get(id(file))
        if known is None or known[0] is not file:
            control = load_control(file, self.base, name)
            known = file, control.around(control.network.to(self.base.device))
            self._controls[id(file)] = known
        return known[1]

    def _bounds(self, table: Table, cases: Sequence[Case]) -> None:
        """Scores of what needs no sampling: the autoencoder at its best, and mere chance."""
        first = [cases[index] for index in first_of_each(cases)]
        following = {a.picture: b for a, b in zip(first, [*first[1:], *first[:1]], strict=True)}
        for part in self._batches(cases):
            sources, masks = _stack(part)
            with self.base.autoencoder_on(self.base.device):
                rebuilt = self.base.decode(self.base.encode_images(sources)).cpu()
            found = {CEILING: rebuilt}
            if len(first) > 1:
                found[FLOOR] = torch.stack([following[case.picture].image for case in part])
            for name, images in found.items():
                known = score(images, sources, sources, masks, self.canny)
                table.add_bound(name, {k: v for k, v in known.items() if k not in OF_CHANGE})

    def _features(self, images: Tensor) -> Tensor:
        if self.inception is not None:
            return self.inception(images)
        with self.base.autoencoder_on(self.base.device):
            return latent_features(self.base.encode_images(images)).cpu()

    def _source_features(self, cases: Sequence[Case]) -> Tensor:
        """Of every true picture once, however many cases it has."""
        true = [cases[index] for index in first_of_each(cases)]
        return torch.cat([self._features(_stack(part)[0]) for part in self._batches(true)])

    def _distances(
        self, table: Table, cases: Sequence[Case], features: Mapping[str, Sequence[Tensor]]
    ) -> None:
        """Distance to the true pictures: Frechet's on Inception, else the kernel's on latents."""
        sources = self._source_features(cases)
        order = {cases[index].picture: i for i, index in enumerate(first_of_each(cases))}
        made_for = torch.tensor([order[case.picture] for case in cases])
        for name, parts in features.items():
            values = torch.cat(list(parts))
            if self.inception is not None:
                found = frechet_distance(values, sources)
                table.add_set(name, "Frechet distance, Inception", found)
            else:
                found = kernel_distance(values, sources, made_for)
                table.add_set(name, "kernel distance, latents", found)


def _stack(part: Sequence[Case]) -> tuple[Tensor, Tensor]:
    return torch.stack([c.image for c in part]), torch.stack([c.mask for c in part])


def _condition(
    file: ControlFile, condition: Condition | None, part: Sequence[Case], sources: Tensor
) -> Tensor:
    """What a control is given [B,1 or 3,H,W]: made from the pictures, or the cases' own."""
    if condition is not None:
        return condition(sources)
    own = torch.stack([case.condition for case in part if case.condition is not None])
    return own if file.in_channels == 3 else own.mean(1, keepdim=True)
