"""Inputs that several nodes have, each with the same name, range and step wherever it stands."""

from typing import Any

from comfy_api.v0_0_2 import io

from .adapter_files import DEFAULTS, RANGES

_THRESHOLDS = ("low_threshold", "high_threshold")


def strength_input(tooltip: str) -> io.Float.Input:
    """Return the input for a strength, of which 1 is as trained."""
    return io.Float.Input("strength", default=1.0, min=0.0, max=10.0, step=0.01, tooltip=tooltip)


def range_inputs(
    begins: str = "The share of the sampling at which control begins.",
    ends: str = "The share of the sampling at which control ends.",
    end: float = 1.0,
) -> list[io.Float.Input]:
    """Return the inputs for where in a sampling something acts, as shares of it.

    begins, ends: their tooltips. end: where it ends unless a person says otherwise.
    """
    told = {"start_percent": (0.0, begins), "end_percent": (end, ends)}
    return [
        io.Float.Input(name, default=share, min=0.0, max=1.0, step=0.001, tooltip=tooltip)
        for name, (share, tooltip) in told.items()
    ]


def size_inputs(least: int, tooltip: str) -> list[io.Int.Input]:
    """Return the inputs for a picture's width and height, at least so many px."""
    return [
        io.Int.Input(name, default=512, min=least, max=16384, step=8, tooltip=tooltip)
        for name in ("width", "height")
    ]


def _range(option: str) -> dict[str, Any]:
    least, most = RANGES[option]
    return {"min": least, "max": most}


def condition_inputs(low: str, high: str, blur: str) -> list[Any]:
    """Return the inputs for the options of canny, with these tooltips, and of colour."""
    thresholds = [
        io.Int.Input(name, default=DEFAULTS[name], **_range(name), tooltip=tooltip)
        for name, tooltip in zip(_THRESHOLDS, (low, high), strict=True)
    ]
    return [
        *thresholds,
        io.Float.Input("blur", default=DEFAULTS["blur"], **_range("blur"), step=0.1, tooltip=blur),
        io.Int.Input(
            "blocks",
            default=DEFAULTS["blocks"],
            **_range("blocks"),
            tooltip="colour: blocks along the shorter side.",
        ),
    ]
