"""z0', the predicted clean latent, from a model output, in fp32."""

from enum import StrEnum

import torch
from torch import Tensor


class PredictionType(StrEnum):
    """What the model predicts; the values are diffusers' names."""

    EPSILON = "epsilon"
    V = "v_prediction"


def predict_z0(output: Tensor, z_t: Tensor, level: Tensor, kind: PredictionType) -> Tensor:
    """Return the clean latent that `output` implies at noise level `level`.

    output, z_t [B,...], level [B] -> [B,...] fp32. `level` is alpha_bar in 0..1, where
    z_t = sqrt(alpha_bar) z0 + sqrt(1 - alpha_bar) eps.

    For epsilon no level may be 0, where z0' is infinite; `check_levels` looks, once for a schedule,
    since a look at every step would have a GPU wait for it.

    Raises:
        ValueError: shapes differ.
    """
    if output.shape != z_t.shape:
        raise ValueError(
            f"The model output has shape {tuple(output.shape)}, but the noisy latent has "
            f"{tuple(z_t.shape)}; both must be the same."
        )
    if level.shape != z_t.shape[:1]:
        raise ValueError(
            f"The noise level has shape {tuple(level.shape)}, but there must be one value for each "
            f"of the {len(z_t)} latents."
        )
    # No autocast: at t = 999 an error of bf16 is amplified by a factor of about 200.
    with torch.autocast(z_t.device.type, enabled=False):
        output, z_t = output.float(), z_t.float()
        level = level.to(z_t).reshape(-1, *[1] * (z_t.ndim - 1))
        match kind:
            case PredictionType.EPSILON:
                return (z_t - (1 - level).sqrt() * output) / level.sqrt()
            case PredictionType.V:
                return level.sqrt() * z_t - (1 - level).sqrt() * output


def check_levels(levels: Tensor, kind: PredictionType) -> None:
    """Raise ValueError if z0' is infinite at one of the `levels` (alpha_bar) of a schedule."""
    if kind is PredictionType.EPSILON and bool((levels <= 0).any()):
        raise ValueError(
            "z0' is infinite for a noise prediction at zero terminal SNR (alpha_bar = 0); use v "
            "prediction, or a schedule that ends above zero."
        )
