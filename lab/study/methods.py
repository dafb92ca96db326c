"""The ways to train an adapter that `lab.study.experiment` compares.

The searches are compared on the validation objects, and what MAIN holds was chosen there.
"""

from dataclasses import dataclass, field
from typing import Any

from training.data.random_masks import DEFAULT_SHARES
from training.evaluation.variants import Outside

_PLAIN = {"mask_features": False, "z0_loss_weight": 0.0}
_NO_Z0 = {"z0_loss_weight": 0.0}
_FULL = DEFAULT_SHARES | {"full": 0.9}
# A z0 loss makes more of steps at high noise than a noise loss does. So do these, with the noise
# loss of the whole frame: min-SNR 1 weighs it much as alpha_bar weighs an error in z0.
_MIN_SNR = {"snr_gamma": 1.0}
_CUBIC = {"timestep_sampling": "cubic"}


@dataclass(frozen=True)
class Method:
    """A way to train (`changes` of the preset) and to apply an adapter. Equal `run`s are shared."""

    label: str
    run: str
    changes: dict[str, Any] = field(default_factory=dict)
    outside: Outside = "gated"


def _z0(edge: str, weight: float, schedule: str = "alpha_bar", **more: Any) -> dict[str, Any]:
    return {"edge": edge, "z0_loss_weight": weight, "z0_loss_schedule": schedule, **more}


def _normalized(gamma: float) -> dict[str, Any]:
    return {"snr_gamma": gamma, "normalize_snr_weight": True}


def _freedom(weight: float) -> dict[str, Any]:
    return {"freedom_loss_weight": weight}


GATED = "(b) plain adapter, gated at sampling"
GATED_SNR = "(b) min-SNR 1"
SOBEL_SNR = "(e) min-SNR 1"
MASKED = "(c) trained with masked features"
SOBEL = "(e) c + Sobel z0 loss"
# The weights in MAIN were chosen by CANNY_SEARCH: the best of z0 MSE and of the Laplacian, and for
# Sobel the preset's, which the best was within the noise of. So was the preset's learning rate, and
# both searches found min-SNR 1.
_WEIGHT = 16.0

MAIN = [
    Method("(a) plain adapter, everywhere", "plain", _PLAIN, outside="everywhere"),
    Method(GATED, "plain", _PLAIN),
    Method(MASKED, "masked", _NO_Z0),
    Method("(d) c + z0 MSE", "z0", _z0("none", 40.0)),
    Method(SOBEL, "sobel", _z0("sobel", _WEIGHT)),
    Method("(f) c + Laplacian z0 loss", "laplacian", _z0("laplacian", _WEIGHT)),
    Method(GATED_SNR, "plain-snr", _PLAIN | _MIN_SNR),
    Method(SOBEL_SNR, "sobel-snr", _z0("sobel", _WEIGHT, **_MIN_SNR)),
]

LONG = [method for method in MAIN if method.label in (GATED_SNR, SOBEL_SNR)]

# Compared along their frontiers with the first, each with gated features and with blended
# predictions.
FRONTIER = [
    Method("plain, min-SNR 1", "plain-snr", _PLAIN | _MIN_SNR),
    Method("local", "sobel", _z0("sobel", _WEIGHT)),
    Method("plain, noise loss", "plain", _PLAIN),
]
# Tried on validation objects beside them, each for a question of its own: where the weight of steps
# ends, whether both help together, whether training for blended predictions (losses inside, whole
# features) or against change outside pays.
_WHOLE = {"mask_features": False, "masked_noise_loss": True}
FRONTIER_SEARCH = [
    *(
        Method(f"plain, min-SNR {gamma:g}", f"plain-snr-{gamma:g}", _PLAIN | _normalized(gamma))
        for gamma in (5.0, 0.3, 0.05)
    ),
    Method("plain, 1/SNR", "plain-snr-0", _PLAIN | _normalized(0.0)),
    Method("local, min-SNR 1", "sobel-snr", _z0("sobel", _WEIGHT, **_MIN_SNR)),
    *(
        Method(
            f"plain, decoded {weight:g}",
            f"decoded-{weight:g}",
            _PLAIN | _MIN_SNR | {"decoded_loss_weight": weight, "decoded_loss_cells": 8},
        )
        for weight in (1.0, 10.0)
    ),
    Method("inside", "inside", _z0("sobel", _WEIGHT, **_MIN_SNR, **_WHOLE)),
    *(
        Method(f"{kind}, freedom {beta:g}", f"{kind}-freedom-{beta:g}", changes | _freedom(beta))
        for kind, changes in (
            ("plain", _PLAIN | _MIN_SNR),
            ("whole", _z0("sobel", _WEIGHT, mask_features=False, **_MIN_SNR)),
        )
        for beta in (0.5, 2.0, 10.0)
    ),
]


def _tried(label: str, run: str, changes: dict[str, Any], rate: float = 5e-4) -> Method:
    return Method(label, run, changes | {"learning_rate": rate})


CANNY_SEARCH = [
    _tried(MASKED, "masked", _NO_Z0),
    _tried(SOBEL, "sobel", _z0("sobel", _WEIGHT)),
    _tried("(e) weight 64", "sobel-64", _z0("sobel", 64.0)),
    _tried("(e) learning rate 1e-3", "sobel-fast", _z0("sobel", _WEIGHT), 1e-3),
    _tried("(c) learning rate 1e-3", "masked-fast", _NO_Z0, 1e-3),
    _tried("(e) signed gradients", "gradients", _z0("sobel_gradients", _WEIGHT)),
    *(_tried(f"(e) weight {w:g}", f"sobel-{w:g}", _z0("sobel", w)) for w in (256.0, 4.0, 1.0)),
    *(
        _tried(f"(e) {schedule}, weight {w:g}", f"sobel-{schedule}", _z0("sobel", w, schedule))
        for schedule, w in (
            ("min_snr", _WEIGHT),
            ("constant", 0.01),
            ("step_unit", 0.01),
            ("time_unit", 0.01),
        )
    ),
    _tried(GATED, "plain", _PLAIN),
    _tried(GATED_SNR, "plain-snr", _PLAIN | _MIN_SNR),
    _tried("(c) min-SNR 1", "masked-snr", _NO_Z0 | _MIN_SNR),
    _tried(SOBEL_SNR, "sobel-snr", _z0("sobel", _WEIGHT, **_MIN_SNR)),
    _tried("(e) mean over pixels", "sobel-pixels", _z0("sobel", _WEIGHT, z0_loss_mean="pixels")),
    _tried("(e) mask eroded by a cell", "sobel-eroded", _z0("sobel", _WEIGHT, z0_loss_erode=1)),
    *(_tried(f"(d) weight {w:g}", f"z0-{w:g}", _z0("none", w)) for w in (0.4, 4.0, 40.0, 160.0)),
    *(
        _tried(f"(f) weight {w:g}", f"laplacian-{w:g}", _z0("laplacian", w))
        for w in (4.0, 16.0, 64.0)
    ),
]

COLOUR_SEARCH = [
    Method(GATED, "plain", _PLAIN),
    Method(MASKED, "masked", _NO_Z0),
    Method(SOBEL, "sobel", _z0("sobel", _WEIGHT)),
    Method(GATED_SNR, "plain-snr", _PLAIN | _MIN_SNR),
    Method("(c) min-SNR 1", "masked-snr", _NO_Z0 | _MIN_SNR),
    Method(SOBEL_SNR, "sobel-snr", _z0("sobel", _WEIGHT, **_MIN_SNR)),
    Method("(b) cubic timesteps", "plain-cubic", _PLAIN | _CUBIC),
    Method("(e) cubic timesteps", "sobel-cubic", _z0("sobel", _WEIGHT, **_CUBIC)),
    Method("(e) half of the masks full", "sobel-full", _z0("sobel", _WEIGHT, mask_shares=_FULL)),
    Method("(e) noise loss inside", "sobel-noise", _z0("sobel", _WEIGHT, masked_noise_loss=True)),
    Method("(e) weight 64", "sobel-64", _z0("sobel", 64.0)),
    Method("(d) weight 40", "z0-40", _z0("none", 40.0)),
    Method("(d) weight 160", "z0-160", _z0("none", 160.0)),
    Method("(d) constant, weight 4", "z0-constant", _z0("none", 4.0, "constant")),
    Method(
        "(d) weight 40, features never masked",
        "z0-40-plain",
        _z0("none", 40.0, mask_features=False),
    ),
]
