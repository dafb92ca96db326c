"""What a person may give a region: read, checked, and refused in a sentence."""

from torch import Tensor

from ..local_control.masks import feather, has_white
from ..local_control.placement import Fit, place

# Of factors of a strength, which itself ends there: far beyond, half precision overflows, and the
# picture is black.
_LARGEST = 10.0
_SHOWN = 60  # letters of a long text in a message
# The mask editor shows what is painted in a colour of the user's; it gives a mask that is white.
PAINT = (
    "paint over what is to be controlled in the mask editor, which makes the mask white there, or "
    "connect a mask that is white there"
)


def parse_numbers(text: str) -> tuple[float, ...]:
    """Return the numbers of '1, 0.5'; none if one of them is no factor that can be used."""
    try:
        numbers = tuple(float(part) for part in text.replace(",", " ").split())
    except ValueError:
        return ()
    return numbers if all(abs(number) <= _LARGEST for number in numbers) else ()


def parse_level_weights(text: str, levels: int | None) -> tuple[float, ...]:
    """Return the numbers of '1, 0.5, 1, 1', `levels` of them; ValueError says what is expected."""
    weights = parse_numbers(text)
    if not weights or levels not in (None, len(weights)):
        wanted = "numbers" if levels is None else f"{levels} numbers, one for each level"
        raise ValueError(
            f"level_weights is {_shorten(text)}, but it must be {wanted} from fine to coarse, each "
            f"{_LARGEST:g} at most, such as {', '.join(['1'] * (levels or 4))}."
        )
    return weights


def parse_curve(text: str) -> tuple[float, ...]:
    """Return the factors of '1, 0.5, 0'; ValueError says what is expected."""
    curve = parse_numbers(text)
    if not curve:
        raise ValueError(
            f"strength_curve is {_shorten(text)}, but it must be numbers of {_LARGEST:g} at most, "
            f"such as '1' for always the same, or '1, 0.5, 0' to fade from start to end."
        )
    return curve


def _shorten(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + " ...")


def check_range(start: float, end: float, owner: str) -> tuple[float, float]:
    """Return both; ValueError if nothing lies between them."""
    if start < end:
        return start, end
    raise ValueError(
        f"The start_percent of {owner} is {start:g} and its end_percent {end:g}, so it would never "
        f"act; set the start before the end."
    )


def place_condition(image: Tensor, mask: Tensor, fit: Fit, number: int) -> Tensor:
    """Return the condition over the whole frame; ValueError if it does not cover the mask's."""
    if fit is not Fit.FRAME:
        if not has_white(mask).all():
            raise ValueError(
                f"A mask in the batch of region {number} is all black or nearly so, and leaves no "
                f"place to {fit} the condition in; {PAINT}, or choose the fit frame."
            )
        return place(image, mask, fit)
    if image.shape[-2:] != mask.shape[-2:]:
        raise ValueError(
            f"The mask is {mask.shape[-1]} x {mask.shape[-2]}, but the condition image is "
            f"{image.shape[-1]} x {image.shape[-2]}; scale one to the size of the other, so that "
            f"they cover the same frame, or choose another fit."
        )
    return image


def soften(mask: Tensor, radius: int) -> Tensor:
    """Return the mask feathered; ValueError if nothing white is left."""
    check_white(mask, "this region", "control nothing")
    soft = feather(mask, radius)
    if has_white(soft).any():
        return soft
    raise ValueError(
        f"A feather of {radius} px leaves nothing of this region's mask; lower the feather or "
        f"widen the mask."
    )


def check_white(mask: Tensor, owner: str, effect: str) -> None:
    """Raise ValueError if a mask [B,1,H,W] is black everywhere; effect: what it would do then."""
    if not has_white(mask).any():
        raise ValueError(
            f"The mask of {owner} is all black or nearly so, and would {effect}; {PAINT}."
        )
