"""Flags of the objective: what an adapter is trained to do."""

from typing import Literal

from pydantic import Field
from torch import Tensor

from local_control.decoded import Decode, DecodedLoss
from local_control.losses import (
    FreedomLoss,
    LocalControlLoss,
    Mean,
    NoiseLoss,
    Schedule,
    SnrWeight,
    TimeWeight,
    Z0Loss,
)
from local_control.masks import MaskResize

from .commands import CommandSettings

Edge = Literal["none", "sobel", "sobel_gradients", "laplacian"]


class ObjectiveFlags(CommandSettings):
    """Objective."""

    mask_features: bool = Field(True, description="gate the adapter's features by the mask")
    masked_noise_loss: bool = Field(False, description="take the noise loss inside the mask alone")
    snr_gamma: float | None = Field(
        None,
        ge=0,
        description="min-SNR weight of the noise loss; 0: its limit 1/SNR, by which an error in "
        "z0 counts the same at all noise levels",
    )
    normalize_snr_weight: bool = Field(
        False, description="divide min-SNR weights by their mean; for --snr_gamma 0 they always are"
    )
    z0_loss_weight: float = Field(4.0, ge=0, description="of the z0 loss beside the noise loss")
    z0_loss_schedule: Schedule = Field(
        "alpha_bar", description="how the z0 loss is weighted over timesteps"
    )
    z0_loss_mean: Mean = Field(
        "area", description="average the z0 loss over the mask's area or over all pixels"
    )
    mask_resize: MaskResize = Field(
        MaskResize.AREA,
        description="how masks come to the latent's grid in losses: the covered share of a cell, "
        "or its nearest pixel, as in the original work",
    )
    z0_loss_erode: int = Field(
        0, ge=0, description="latent cells by which the mask shrinks in the z0 loss"
    )
    edge: Edge = Field("sobel", description="what the z0 loss compares; none: z0' itself")
    freedom_loss_weight: float = Field(
        0.0,
        ge=0,
        description="of the change outside the mask against the base without control, which takes "
        "another prediction a step",
    )
    freedom_loss_schedule: Schedule = Field(
        "constant", description="how the freedom loss is weighted over timesteps"
    )
    freedom_loss_margin: float = Field(
        0.0, ge=0, description="change of the prediction outside that costs nothing"
    )
    decoded_loss_weight: float = Field(
        0.0,
        ge=0,
        description="of edges of decoded z0' inside the mask at low noise, through the base's "
        "autoencoder, which takes memory and two decodings a step",
    )
    decoded_loss_cells: int = Field(
        24, ge=4, description="latent cells around the middle of the mask that are decoded"
    )
    decoded_loss_lowest: float = Field(
        0.5, ge=0, le=1, description="alpha_bar of the noisiest steps whose z0' is decoded"
    )
    noise_offset: float = Field(
        0.0, ge=0, description="how far noise is shifted, each channel of a latent as one"
    )
    input_perturbation: float = Field(
        0.0, ge=0, description="noise that is added and not to be predicted, as a share; often 0.1"
    )
    timestep_sampling: Literal["uniform", "cubic"] = Field(
        "cubic", description="how timesteps are drawn; cubic prefers noisy ones"
    )

    def loss(self, drawn: Tensor, decode: Decode) -> LocalControlLoss:
        """Return the objective that these settings name.

        drawn [N]: alpha_bar of timesteps. decode: the base's decoder, through which gradients flow.
        """
        mean: Mean = "area" if self.masked_noise_loss else "pixels"
        weight = None
        if self.snr_gamma is not None:
            normalized = self.normalize_snr_weight or self.snr_gamma == 0
            weight = SnrWeight(self.snr_gamma, drawn if normalized else None)
        noise = NoiseLoss(self.masked_noise_loss, mean, self.mask_resize, weight)
        z0 = Z0Loss(
            None if self.edge == "none" else self.edge,
            TimeWeight(self.z0_loss_schedule),
            mean=self.z0_loss_mean,
            resize=self.mask_resize,
            erode_cells=self.z0_loss_erode,
        )
        freedom = FreedomLoss(
            TimeWeight(self.freedom_loss_schedule), self.freedom_loss_margin, self.mask_resize
        )
        return LocalControlLoss(
            noise,
            z0,
            z0_weight=self.z0_loss_weight,
            freedom=freedom,
            freedom_weight=self.freedom_loss_weight,
            decoded=DecodedLoss(decode, self.decoded_loss_cells, self.decoded_loss_lowest),
            decoded_weight=self.decoded_loss_weight,
        )
