"""Flags of the condition that an adapter reads, and of the masks that it is trained with."""

from typing import Literal, Self

from pydantic import Field, model_validator

from ..data.condition import Condition, ConditionKind
from ..data.random_masks import OWN_SHAPES, SHAPES, RandomMasks
from .commands import CommandSettings


class ControlFlags(CommandSettings):
    """Condition and mask (white = controlled)."""

    condition: ConditionKind = Field("canny", description="what is computed from each picture")
    canny_low: float = Field(100.0, ge=0, description="Canny's lower threshold, of 8-bit values")
    canny_high: float = Field(200.0, ge=0, description="Canny's upper threshold")
    canny_blur: float = Field(0.0, ge=0, description="px, the Gaussian before Canny; 0: none")
    colour_blocks: int = Field(8, ge=1, description="blocks of colour along each side")
    mask_source: Literal["mixed", "random", "dataset", "full"] = Field(
        "mixed", description="shapes and the data set's masks, only one of them, or the whole frame"
    )
    mask_shares: dict[str, float] = Field(
        default_factory=dict, description=f"weights of {', '.join(SHAPES)} (default: a mixture)"
    )
    invert_masks: bool = Field(False, description="the data set's masks are black = controlled")
    masked_condition_share: float = Field(
        0.0, ge=0, le=1, description="share of conditions that are blank outside the mask"
    )

    @model_validator(mode="after")
    def _masks_that_there_are(self) -> Self:
        shares, source = self.mask_shares, self.mask_source
        if unknown := shares.keys() - SHAPES.keys():
            raise ValueError(
                f"--mask_shares knows {', '.join(SHAPES)}, not {', '.join(sorted(unknown))}."
            )
        if shares and not (all(share >= 0 for share in shares.values()) and any(shares.values())):
            raise ValueError("--mask_shares must be at least 0, and one of them more.")
        if source == "full" and shares:
            raise ValueError("--mask_source full has no shapes; drop --mask_shares.")
        if source == "random" and (own := sorted(shares.keys() & OWN_SHAPES)):
            raise ValueError(
                f"--mask_source random never looks at the data set's masks; drop {own[0]} from "
                f"--mask_shares, or use mixed."
            )
        drawn = shares.keys() - OWN_SHAPES - {"full", "empty"}
        if source == "dataset" and drawn:
            raise ValueError(
                f"--mask_source dataset draws no shapes; drop {min(drawn)} from --mask_shares, or "
                f"use mixed."
            )
        if self.canny_low > self.canny_high:
            raise ValueError(
                f"--canny_low {self.canny_low:g} is more than --canny_high {self.canny_high:g}."
            )
        return self

    def made_condition(self) -> Condition:
        """Return what is computed from pictures, where no column has it."""
        canny = (self.canny_low, self.canny_high, self.canny_blur)
        return Condition(self.condition, *canny, self.colour_blocks)

    def masks(self) -> RandomMasks:
        """Return the masks that are drawn in training."""
        return RandomMasks.of(self.mask_source, self.mask_shares)
