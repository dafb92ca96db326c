"""Flags of the objective: what an adapter is trained to do."""

from typing import Literal

from pydantic import Field

from local_control.losses import LocalControlLoss, Mean, NoiseLoss, Schedule, TimeWeight, Z0Loss

from .commands import CommandSettings

Edge = Literal["none", "sobel", "sobel_gradients", "laplacian"]


class ObjectiveFlags(CommandSettings):
    """Objective."""

    mask_features: bool = Field(True, description="gate the adapter's features by the mask")
    masked_noise_loss: bool = Field(False, description="take the noise loss inside the mask alone")
    snr_gamma: float | None = Field(None, gt=0, description="min-SNR weight of the noise loss")
    z0_loss_weight: float = Field(4.0, ge=0, description="of the z0 loss beside the noise loss")
    z0_loss_schedule: Schedule = Field(
        "alpha_bar", description="how the z0 loss is weighted over timesteps"
    )
    z0_loss_mean: Mean = Field(
        "area", description="average the z0 loss over the mask's area or over all pixels"
    )
    z0_loss_erode: int = Field(
        0, ge=0, description="latent cells by which the mask shrinks in the z0 loss"
    )
    edge: Edge = Field("sobel", description="what the z0 loss compares; none: z0' itself")
    timestep_sampling: Literal["uniform", "cubic"] = Field(
        "cubic", description="how timesteps are drawn; cubic prefers noisy ones"
    )

    def loss(self) -> LocalControlLoss:
        """Return the objective that these settings name."""
        mean: Mean = "area" if self.masked_noise_loss else "pixels"
        noise = NoiseLoss(self.masked_noise_loss, mean, snr_gamma=self.snr_gamma)
        z0 = Z0Loss(
            None if self.edge == "none" else self.edge,
            TimeWeight(self.z0_loss_schedule),
            mean=self.z0_loss_mean,
            erode_cells=self.z0_loss_erode,
        )
        return LocalControlLoss(noise, z0, z0_weight=self.z0_loss_weight)
