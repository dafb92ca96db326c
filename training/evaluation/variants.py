"""Variants: the ways to control that an evaluation compares."""

from dataclasses import dataclass, field, replace
from typing import Literal, Self

from local_control.control_file import ControlFile

from ..data.condition import Condition
from ..models.sample import ActsOn

FREE = "no control"
Outside = Literal["gated", "exact", "both", "everywhere"]


@dataclass(frozen=True)
class Variant:
    """One way to control: by a file (None: not at all), at a strength, and with the outside free.

    condition: what the control reads, as its metadata tells it; None: the cases' own conditions.
    outside: gated: features are multiplied by the mask; exact: predictions with whole features and
    without any are blended by it, which costs one more of each prompt that is controlled; both:
    such predictions with gated features; everywhere: nothing keeps control from the outside.
    acts_on: both prompts, or the positive one alone.
    """

    name: str
    file: ControlFile | None = None
    condition: Condition | None = field(default_factory=Condition)
    outside: Outside = "gated"
    acts_on: ActsOn = "both"
    strength: float = 1.0

    @property
    def gated(self) -> bool:
        """Return whether features are multiplied by the mask."""
        return self.outside in ("gated", "both")

    @property
    def blended(self) -> bool:
        """Return whether predictions with and without control are blended by the mask."""
        return self.outside in ("exact", "both")

    def at(self, strength: float) -> Self:
        """Return the same at another strength, with a name of its own."""
        return replace(self, name=f"{self.name}, strength {strength:g}", strength=strength)
