"""What the apply nodes of Advanced-ControlNet ask of controls that know of context windows."""

from typing import Any

from torch import Tensor


class AdvancedApply:
    """Their mask becomes the region's; what they vary over steps and latents, regions do."""

    require_vae = False
    allow_condhint_latents = False
    postpone_condhint_latents_check = False
    stock_mask: Tensor | None = None

    def disarm(self) -> None:
        """Nothing is armed here."""

    def set_cond_hint_mask(self, mask: Tensor) -> None:
        """Take a MASK [B,H,W] as where the control acts."""
        self.stock_mask = mask

    def verify_all_weights(self, throw_error: bool = True) -> None:
        """Called once all has been set."""
        if getattr(self, "weights_override", None) is not None:
            self.set_timestep_keyframes(self.weights_override)
        if getattr(self, "latent_keyframe_override", None) is not None:
            self.set_timestep_keyframes(self.latent_keyframe_override)

    def set_timestep_keyframes(self, keyframes: Any) -> None:
        """Raise ValueError: there are no keyframes here."""
        raise ValueError(
            "Keyframes and weights of Advanced-ControlNet are not for adapters of Load Local "
            "Adapter; set level weights, a strength curve and a mask for each latent in Local "
            "Control Region, or load the file with Advanced-ControlNet's own loader."
        )
