"""One controlled noise prediction through diffusers, as the nodes make it through ComfyUI."""

from collections.abc import Sequence

from diffusers import UNet2DConditionModel
from torch import Tensor

from local_control.adapter import Adapter
from local_control.gating import gate_features


def control_features(
    adapter: Adapter,
    condition: Tensor,
    mask: Tensor | None = None,
    weights: Sequence[float] | None = None,
) -> list[Tensor]:
    """Features of a condition [B,C,H,W], gated by a mask [B,1,H,W] if there is one."""
    features = adapter(condition)
    if mask is None:
        return features
    return [f for f in gate_features(features, mask, weights) if f is not None]


def predict(
    unet: UNet2DConditionModel,
    z_t: Tensor,
    timestep: Tensor,
    context: Tensor,
    features: Sequence[Tensor] | None = None,
    added: dict[str, Tensor] | None = None,
) -> Tensor:
    """The UNet's prediction [B,C,h,w] for noisy latents under a text context [B,T,D].

    added: SDXL's pooled text and time ids. diffusers empties the list of features that it is
    given, so it gets a fresh one, and skips SDXL's last feature without a word unless it has the
    whole batch, so one condition for all is repeated.
    """
    residuals = None
    if features is not None:
        residuals = [feature.expand(len(z_t), -1, -1, -1) for feature in features]
    return unet(
        z_t,
        timestep,
        encoder_hidden_states=context,
        added_cond_kwargs=added,
        down_intrablock_additional_residuals=residuals,
    ).sample
