"""Variants of control on the same cases: sampled, judged, scored."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor
from tqdm import tqdm

from ..data.condition import Condition
from ..models.bases import Base
from ..models.sample import Sampling, StepChanges
from .cases import Case, first_of_each, picture_keys, spread_out
from .perceptual import PerceptualChange
from .progress import Progress
from .sampler import Sampler, condition_of, stack
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
from .variants import FREE, Variant

SEEN = "picture and mask"
CONDITION = "condition"
CEILING = "true picture through the autoencoder"
FLOOR = "another true picture"
_SHOWN = 12
Judge = Callable[[Tensor, Sequence[Case]], Tensor]


@dataclass(frozen=True)
class Evaluator:
    """How the cases are sampled and judged.

    judge: pictures and their cases -> following [B]. canny: finds the edges that are compared.
    direct: tell the leak of single steps as well, which the gated then pay for as the exact do.
    reference: measure LFMSE and DiffCC as the original work does.
    """

    base: Base
    sampling: Sampling
    batch_size: int = 8
    judge: Judge | None = None
    inception: InceptionFeatures | None = None
    canny: Condition = field(default_factory=Condition)
    perceptual: PerceptualChange | None = None
    direct: bool = False
    reference: bool = False

    def run(
        self,
        cases: Sequence[Case],
        variants: Sequence[Variant],
        free: Tensor | None = None,
        progress: Progress | None = None,
    ) -> Table:
        """Return the scores of every variant on every case, and distances of whole sets.

        free: what `uncontrolled` returned for the same cases, where it is known already. progress:
        what an evaluation of the same that was stopped has found, and where this one keeps it.
        """
        keys = picture_keys(cases)
        self._sample.expect(cases)
        table = Table(keys)
        everything = [Variant(FREE), *variants]
        columns = [SEEN, CONDITION, *(variant.name for variant in everything)]
        pictures: dict[str, list[Tensor]] = {name: [] for name in columns}
        features: dict[str, list[Tensor]] = {variant.name: [] for variant in everything}
        blank: list[Tensor] = []
        shown = set(spread_out(keys, _SHOWN))
        following = _following(keys)
        starts = range(0, len(cases), self.batch_size)
        for number_of, start in enumerate(tqdm(starts, desc="evaluating")):
            known = None if progress is None else progress.read(number_of)
            if known is None:
                part = cases[start : start + self.batch_size]
                own = [index - start for index in range(start, start + len(part)) if index in shown]
                without = None if free is None else free[start : start + self.batch_size]
                others = [cases[following[c.picture]].image for c in part if following]
                known = self._batch(part, everything, own, without)
                for name, scores in self._bounds(part, others).items():
                    known |= {_name("bound", name, key): v for key, v in scores.items()}
                if progress is not None:
                    progress.keep(number_of, known)
            blank.append(known[_name("blank")])
            for variant in everything:
                table.add(variant.name, _under(known, "score", variant.name))
                features[variant.name].append(known[_name("features", variant.name)])
            for bound in (CEILING, FLOOR):
                if scores := _under(known, "bound", bound):
                    table.add_bound(bound, scores)
            for name in columns:
                pictures[name] += known[_name("pictures", name)]
        table.blank = torch.cat(blank)
        self._distances(table, cases, features)
        table.pictures = pictures
        return table

    def _batch(
        self,
        part: Sequence[Case],
        variants: Sequence[Variant],
        shown: Sequence[int],
        without: Tensor | None,
    ) -> dict[str, Tensor]:
        """Everything that is found of some cases, by names that `_name` makes.

        shown: those of them that the sheet shows. without: pictures of the first variant, which
        controls nothing, if they are known.
        """
        sources, masks = stack(part)
        if without is None:
            without = self._sample(part, variants[0])
        out = {_name("blank"): blank_lfmse(sources, masks, self.canny, self.reference)}
        out[_name("pictures", SEEN)] = darkened(sources, masks)[list(shown)]
        read = next((variant for variant in variants if variant.file is not None), None)
        conditions = sources if read is None else condition_of(read, part, sources)
        out[_name("pictures", CONDITION)] = conditions.expand(-1, 3, -1, -1)[list(shown)]
        for variant in variants:
            changes = StepChanges(masks.to(self.base.device)) if self.direct else None
            images = without if variant is variants[0] else self._sample(part, variant, changes)
            found = score(images, without, sources, masks, self.canny, self.reference)
            if changes is not None:
                found[DIRECT] = changes.leak.cpu().expand(len(part))
            if self.perceptual is not None:
                found[PERCEPTUAL] = self.perceptual(images, without, 1 - masks)
            if self.judge is not None:
                found["prompt following"] = self.judge(images, part)
            out |= {_name("score", variant.name, key): values for key, values in found.items()}
            out[_name("features", variant.name)] = self._features(images)
            out[_name("pictures", variant.name)] = images[list(shown)]
        return out

    def uncontrolled(self, cases: Sequence[Case]) -> Tensor:
        """Return the pictures [N,3,H,W] in 0..1 of cases of one size without control."""
        variant = Variant(FREE)
        self._sample.expect(cases)
        return torch.cat([self._sample(part, variant) for part in self._batches(cases)])

    @cached_property
    def _sample(self) -> Sampler:
        return Sampler(self.base, self.sampling)

    def _batches(self, cases: Sequence[Case]) -> Iterator[Sequence[Case]]:
        for start in range(0, len(cases), self.batch_size):
            yield cases[start : start + self.batch_size]

    def _bounds(
        self, part: Sequence[Case], others: Sequence[Tensor]
    ) -> dict[str, dict[str, Tensor]]:
        """Scores of what needs no sampling: the autoencoder at its best, and mere chance.

        others: for each case another true picture; none where there is only one.
        """
        sources, masks = stack(part)
        with self.base.autoencoder_on(self.base.device):
            rebuilt = self.base.decode(self.base.encode_images(sources)).cpu()
        found = {CEILING: rebuilt}
        if others:
            found[FLOOR] = torch.stack(list(others))
        scores = {
            name: score(images, sources, sources, masks, self.canny, self.reference)
            for name, images in found.items()
        }
        return {
            name: {key: values for key, values in known.items() if key not in OF_CHANGE}
            for name, known in scores.items()
        }

    def _features(self, images: Tensor) -> Tensor:
        if self.inception is not None:
            return self.inception(images)
        with self.base.autoencoder_on(self.base.device):
            return latent_features(self.base.encode_images(images)).cpu()

    def _source_features(self, cases: Sequence[Case]) -> Tensor:
        """Of every true picture once, however many cases it has."""
        first = first_of_each(picture_keys(cases))
        parts = [
            first[start : start + self.batch_size]
            for start in range(0, len(first), self.batch_size)
        ]
        return torch.cat(
            [self._features(torch.stack([cases[index].image for index in part])) for part in parts]
        )

    def _distances(
        self, table: Table, cases: Sequence[Case], features: Mapping[str, Sequence[Tensor]]
    ) -> None:
        """Distance to the true pictures: Frechet's on Inception, else the kernel's on latents."""
        sources = self._source_features(cases)
        keys = picture_keys(cases)
        order = {keys[index]: i for i, index in enumerate(first_of_each(keys))}
        made_for = torch.tensor([order[key] for key in keys])
        for name, parts in features.items():
            values = torch.cat(list(parts))
            if self.inception is not None:
                found = frechet_distance(values, sources)
                table.add_set(name, "Frechet distance, Inception", found)
            else:
                found = kernel_distance(values, sources, made_for)
                table.add_set(name, "kernel distance, latents", found)


def _following(keys: Sequence[str]) -> dict[str, int]:
    """For every picture a case of the next one, by the pictures of cases; none if there is one."""
    first = first_of_each(keys)
    if len(first) < 2:
        return {}
    turned = [*first[1:], *first[:1]]
    return {keys[index]: other for index, other in zip(first, turned, strict=True)}


def _name(*parts: str) -> str:
    """The name of something that was found of a batch."""
    return json.dumps(parts)


def _under(found: Mapping[str, Tensor], *parts: str) -> dict[str, Tensor]:
    """What was found under a name that begins so, by the last part of each."""
    names = {name: json.loads(name) for name in found}
    return {own[-1]: found[name] for name, own in names.items() if tuple(own[:-1]) == parts}
