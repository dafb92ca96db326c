"""The condition of an adapter: made from pictures, told in its file, read back from there."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from local_control import conditions

ConditionKind = Literal["canny", "sobel", "laplacian", "colour"]
PICTURES = "pictures"  # what a file tells whose adapter reads the pictures of a column
# Beyond these, in 8-bit values, px and blocks, a file tells nothing that could be made.
_HIGHEST, _WIDEST, _FINEST = 1e5, 100.0, 4096


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
        """Return how many channels it has: 3 for colour, else 1."""
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
    """Return the condition that `str` wrote, or None if the text is anything else."""
    try:
        found = _from_words(text.split())
    except ValueError:  # words where numbers belong
        return None
    return found if found is not None and _is_possible(found) else None


def _from_words(words: list[str]) -> Condition | None:
    match words:
        case ["canny", low, high, *blur] if len(blur) < 2:
            return Condition("canny", float(low), float(high), float(*blur))
        case ["colour", blocks]:
            return Condition("colour", blocks=int(blocks))
        case ["sobel" | "laplacian" as kind]:
            return Condition(kind)
        case _:
            return None


def _is_possible(condition: Condition) -> bool:
    """Whether a condition can be made; not a number (NaN) is in no range."""
    return (
        0 <= condition.low <= condition.high <= _HIGHEST
        and 0 <= condition.blur <= _WIDEST
        and 1 <= condition.blocks <= _FINEST
    )
