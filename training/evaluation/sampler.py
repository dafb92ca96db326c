"""Pictures of cases, as a base makes them under each way to control."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from local_control.control_file import ControlFile

from ..data.digests import number
from ..data.random_streams import VALIDATION, generator
from ..models.bases import Base
from ..models.controls import Control
from ..models.new_control import load_control
from ..models.sample import Sampling, StepChanges, sample
from .cases import Case, prompts_of
from .texts import Texts
from .variants import Variant


@dataclass(frozen=True)
class Sampler:
    """A base, how it samples, and the controls it was given so far."""

    base: Base
    sampling: Sampling
    _controls: dict[int, tuple[ControlFile, Control]] = field(
        default_factory=dict, init=False, repr=False
    )

    def __call__(
        self, part: Sequence[Case], variant: Variant, changes: StepChanges | None = None
    ) -> Tensor:
        """Return a picture [B,3,H,W] in 0..1 of each case, all of one size.

        changes: is told how much control changes single steps.
        """
        device = self.base.device
        sources, masks = stack(part)
        masks = masks.to(device)
        acting = None
        if variant.file is not None:
            condition = condition_of(variant, part, sources).to(device)
            gate = masks if variant.gated else None
            with torch.no_grad():
                control = self._control(variant.file, variant.name)
                acting = control.on(condition, gate, variant.strength)
        text, negative = self._texts([case.prompt for case in part]), self._texts([""])
        size = (*sources.shape[-2:], 0, 0, *sources.shape[-2:])
        ids = torch.tensor([size] * len(part), dtype=torch.float32, device=device)
        latents = sample(
            self.base,
            self._noise(part),
            text,
            negative,
            self.sampling,
            acting,
            ids,
            acts_on=variant.acts_on,
            blend=masks if variant.blended else None,
            changes=changes,
        )
        with self.base.autoencoder_on(device):
            return self.base.decode(latents).cpu()

    def expect(self, cases: Sequence[Case]) -> None:
        """Note which cases are to come, so that their prompts are embedded together."""
        self._texts.expect(prompts_of(cases))

    @cached_property
    def _texts(self) -> Texts:
        return Texts(self.base)

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

    def _control(self, file: ControlFile, name: str) -> Control:
        """The control of a file on the base's device, built once however many variants have it."""
        known = self._controls.get(id(file))
        if known is None or known[0] is not file:
            control = load_control(file, self.base, name)
            known = file, control.around(control.network.to(self.base.device))
            self._controls[id(file)] = known
        return known[1]


def stack(part: Sequence[Case]) -> tuple[Tensor, Tensor]:
    """Return the pictures [B,3,H,W] and masks [B,1,H,W] of cases of one size."""
    return torch.stack([c.image for c in part]), torch.stack([c.mask for c in part])


def condition_of(variant: Variant, part: Sequence[Case], sources: Tensor) -> Tensor:
    """Return what a variant's control is given [B,1 or 3,H,W]: made from the pictures [B,3,H,W] of
    the cases, or the cases' own.
    """
    assert variant.file is not None
    if variant.condition is not None:
        return variant.condition(sources)
    own = torch.stack([case.condition for case in part if case.condition is not None])
    return own if variant.file.in_channels == 3 else own.mean(1, keepdim=True)
