"""How regions act: on which predictions, and on the picture outside them."""

from enum import StrEnum

from comfy_api.v0_0_2 import io

# What a region can be told, and the prompts that it means.
ACTS_ON = {
    "both": frozenset(("positive", "negative")),
    "positive": frozenset(("positive",)),
    "negative": frozenset(("negative",)),
}


class Outside(StrEnum):
    """What regions may do to the picture outside them."""

    GATED = "gated"  # their features end at the mask, and what the model makes of these does not
    EXACT = "exact"  # nothing in any step: predictions with and without them are blended


def acts_on_input() -> io.Combo.Input:
    """Return the input of the predictions that a region controls."""
    return io.Combo.Input(
        "acts_on",
        options=list(ACTS_ON),
        default="both",
        optional=True,
        tooltip="The predictions that are controlled. positive: guidance (cfg) amplifies the "
        "control as well, so that it is followed far more closely; lower the strength if it is "
        "too much.",
    )


def outside_input(default: Outside) -> io.Combo.Input:
    """Return the input of what regions may do outside them."""
    return io.Combo.Input(
        "outside",
        options=[outside.value for outside in Outside],
        default=default.value,
        optional=True,
        tooltip="gated: control ends at the mask, but what lies around it answers a little; costs "
        "nothing. exact: each step is predicted with and without control, and the two are blended "
        "by the mask; costs one more run a step for each prompt that is controlled.",
    )
