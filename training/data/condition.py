"""The condition of an adapter: made from pictures, told in its file, read back from there."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from local_control import conditions

ConditionKind = Literal["canny", "sobel", "laplacian", "colour"]
PICTURES = "pictures"  # what a file tells whose adapter reads the pictures of a column


@dataclass(frozen=True)
class Condition:
    """A kind of condition with its parameters; the others' parameters do not matter."""

    kind: ConditionKind = "canny"
    low: float = 100.0
    high: float = 200.0
    blur: float = 0.0
    blocks: int = 8

    @property
    def channels(self) -> int:
        """How many channels it has."""
        return 3 if self.kind == "colour" else 1

    def __call__(self, image: Tensor) -> Tensor:
        """Image [B,3,H,W] in 0..1 -> condition [B,1 or 3,H,W] in 0..1."""
        match self.kind:
            case "canny":
                return conditions.canny(image, self.low, self.high, self.blur)
            case "colour":
                return conditions.colour(image, self.blocks)
            case name:
                return conditions.CONDITIONS[name](image)

    def __str__(self) -> str:
        """Its name with the parameters that matter, as adapter files hold it."""
        match self.kind:
            case "canny":
                return f"canny {self.low:g} {self.high:g}" + f" {self.blur:g}" * (self.blur > 0)
            case "colour":
                return f"colour {self.blocks}"
            case name:
                return name


def parse_condition(text: str) -> Condition | None:
    """What `str` wrote, or None if the text is anything else."""
    match text.split():
        case ["canny", low, high, *blur] if len(blur) < 2:
            return Condition("canny", float(low), float(high), float(*blur))
        case ["colour", blocks]:
            return Condition("colour", blocks=int(blocks))
        case ["sobel" | "laplacian" as kind]:
            return Condition(kind)
        case _:
            return None
