"""The losses of local control, one value a sample.

Source: arXiv 2602.01991, section 3; its behaviour is the `reference` setting of every choice here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .edges import EDGE_FILTERS
from .masks import MaskResize, erode, resize_mask
from .z0 import PredictionType, predict_z0

Mean = Literal["pixels", "area"]
Schedule = Literal["constant", "step_unit", "time_unit", "alpha_bar", "min_snr"]


@dataclass(frozen=True)
class Denoising:
    """One batch of the denoiser at work.

    output: what it predicted, target: what it should have (noise or v), z_t and z0: noisy and
    clean latent, all [B,C,h,w]; alpha_bar and timestep [B]; mask [B,1,H,W] in 0..1 at any size.
    free: what it predicts for the same z_t without control, where a loss asks for it.
    """

    output: Tensor
    target: Tensor
    z_t: Tensor
    z0: Tensor
    alpha_bar: Tensor
    timestep: Tensor
    mask: Tensor
    kind: PredictionType = PredictionType.EPSILON
    free: Tensor | None = None


def per_sample_mean(values: Tensor, mask: Tensor, mean: Mean) -> Tensor:
    """Return means [B] of masked `values` [B,C,h,w] over all pixels, or over the mask's area.

    With "pixels" a mask of 1.6 % weighs 64 times less than a full one; "area" evens that out. An
    empty mask gives 0 in both.
    """
    if mean == "pixels":
        return values.mean((1, 2, 3))
    area = mask.sum((1, 2, 3)) * values.shape[1]
    return values.sum((1, 2, 3)) / area.clamp(min=1e-6)


def masked_error(
    z0: Tensor, reference: Tensor, mask: Tensor, edge: str | None, mean: Mean = "area"
) -> Tensor:
    """Return the squared error [B] of a latent's edges (None: its own) inside a mask on its grid.

    z0 and reference [B,C,h,w], mask [B,1,h,w] in 0..1; edge: a name of `EDGE_FILTERS`.
    """
    if edge is not None:
        z0, reference = EDGE_FILTERS[edge](z0), EDGE_FILTERS[edge](reference)
    return per_sample_mean(((z0 - reference) * mask).square(), mask, mean)


class TimeWeight:
    """w(t), the weight of a z0 term over the noise levels.

    constant: 1. step_unit: 1 for `first_step` <= t <= `last_step`, else 0. time_unit:
    1 - alpha_bar. alpha_bar: alpha_bar, which tames the z0 error that grows with noise. min_snr:
    min(SNR, gamma) / SNR for an error in noise, carried over to one in z0 (Hang et al., 2023).
    """

    def __init__(
        self,
        schedule: Schedule = "alpha_bar",
        first_step: int = 500,
        last_step: int = 999,
        gamma: float = 5.0,
    ) -> None:
        self.schedule: Schedule = schedule
        self.first_step = first_step
        self.last_step = last_step
        self.gamma = gamma

    def __call__(self, timestep: Tensor, alpha_bar: Tensor) -> Tensor:
        """timestep and alpha_bar [B] -> weights [B] fp32."""
        alpha_bar = alpha_bar.float()
        match self.schedule:
            case "constant":
                return torch.ones_like(alpha_bar)
            case "step_unit":
                return ((timestep >= self.first_step) & (timestep <= self.last_step)).float()
            case "time_unit":
                return 1 - alpha_bar
            case "alpha_bar":
                return alpha_bar
            case "min_snr":
                # |z0' - z0|^2 = |eps' - eps|^2 / SNR, so weight min(SNR, gamma) / SNR there is
                # min(SNR, gamma) here; divided by gamma it stays in 0..1.
                snr = alpha_bar / (1 - alpha_bar)
                return snr.clamp(max=self.gamma) / self.gamma


class SnrWeight:
    """min-SNR: the weight by which an error in z0 counts min(SNR, gamma) (Hang et al., 2023).

    gamma 0: its limit, by which an error in z0 counts the same at every noise level: 1/SNR for
    noise prediction (arXiv 2604.05761). drawn [N]: alpha_bar of the timesteps that are drawn in
    training; weights are divided by their mean over it, so that their size, which clipping of
    gradients and Adam's epsilon meet, does not depend on gamma. None, for a gamma above 0: as they
    are.
    """

    def __init__(self, gamma: float, drawn: Tensor | None = None) -> None:
        if gamma == 0 and drawn is None:
            raise ValueError("min-SNR weights of gamma 0 are 0 unless their mean is made 1.")
        self.gamma = gamma
        self.drawn = drawn

    def __call__(self, alpha_bar: Tensor, kind: PredictionType) -> Tensor:
        """Return weights [B] fp32 of errors in a prediction at alpha_bar [B]."""
        weight = self._weight(alpha_bar.float(), kind)
        return weight if self.drawn is None else weight / self._weight(self.drawn, kind).mean()

    def _weight(self, alpha_bar: Tensor, kind: PredictionType) -> Tensor:
        # An error in noise is one in z0 times SNR; one in v is one in z0 times SNR + 1.
        snr = alpha_bar / (1 - alpha_bar)
        per_z0 = snr + 1 if kind is PredictionType.V else snr
        if not self.gamma:
            return 1 / per_z0
        # Of noise it is 1 up to gamma, also at zero terminal SNR, where the quotient is 0 / 0.
        weight = snr.clamp(max=self.gamma) / per_z0
        return weight if kind is PredictionType.V else weight.where(snr > self.gamma, 1)


class NoiseLoss:
    """Squared error of the model's own prediction, over the whole latent or inside the mask.

    weight: of every sample by its noise level; None: 1.
    """

    def __init__(
        self,
        masked: bool = False,
        mean: Mean = "pixels",
        resize: MaskResize = MaskResize.AREA,
        weight: SnrWeight | None = None,
    ) -> None:
        self.masked = masked
        self.mean: Mean = mean
        self.resize = resize
        self.weight = weight

    def error(self, batch: Denoising) -> Tensor:
        """Return the unreduced squared error [B,C,h,w] fp32, zero outside the mask if masked."""
        difference = batch.output.float() - batch.target.float()
        if self.masked:
            difference = difference * self._mask(batch)
        return difference.square()

    def __call__(self, batch: Denoising) -> Tensor:
        """-> [B]."""
        error = self.error(batch)
        if self.masked:
            loss = per_sample_mean(error, self._mask(batch), self.mean)
        else:
            loss = error.mean((1, 2, 3))
        return loss if self.weight is None else loss * self.weight(batch.alpha_bar, batch.kind)

    def _mask(self, batch: Denoising) -> Tensor:
        size = (batch.output.shape[-2], batch.output.shape[-1])
        return resize_mask(batch.mask.float(), size, self.resize)


class Z0Loss:
    """w(t) times the squared error of z0' (or of its edges) inside the mask.

    edge: None for z0' itself, else a name of `EDGE_FILTERS`; the mask is applied after the filter,
    since before it would invent edges at the mask's border. erode_cells: shrink the mask on the
    latent grid, so that the filter reads nothing from outside (1 for the 3x3 Sobel).
    """

    def __init__(
        self,
        edge: str | None = "sobel",
        time_weight: TimeWeight | None = None,
        mean: Mean = "area",
        resize: MaskResize = MaskResize.AREA,
        erode_cells: int = 0,
    ) -> None:
        if edge is not None and edge not in EDGE_FILTERS:
            raise ValueError(
                f"The edge filter {edge!r} is unknown; use one of {list(EDGE_FILTERS)}."
            )
        self.edge = edge
        self.time_weight = time_weight or TimeWeight()
        self.mean: Mean = mean
        self.resize = resize
        self.erode_cells = erode_cells

    def __call__(self, batch: Denoising) -> Tensor:
        """-> [B], fp32 whatever autocast is on."""
        with torch.autocast(batch.z_t.device.type, enabled=False):
            predicted = predict_z0(batch.output, batch.z_t, batch.alpha_bar, batch.kind)
            size = (predicted.shape[-2], predicted.shape[-1])
            mask = resize_mask(batch.mask.float(), size, self.resize)
            mask = erode(mask, self.erode_cells)
            loss = masked_error(predicted, batch.z0.float(), mask, self.edge, self.mean)
            return self.time_weight(batch.timestep, batch.alpha_bar) * loss


class FreedomLoss:
    """w(t) times the squared change of the prediction outside the mask, over the outside's area.

    Of a controlled prediction against the one without control on the same z_t, so that an adapter
    learns to leave the outside alone. margin: a change up to so much, in the prediction's own
    units, costs nothing.
    """

    def __init__(
        self,
        time_weight: TimeWeight | None = None,
        margin: float = 0.0,
        resize: MaskResize = MaskResize.AREA,
    ) -> None:
        self.time_weight = time_weight or TimeWeight("constant")
        self.margin = margin
        self.resize = resize

    def __call__(self, batch: Denoising) -> Tensor:
        """Return a value a sample [B] fp32; `batch.free` must be there."""
        assert batch.free is not None
        size = (batch.output.shape[-2], batch.output.shape[-1])
        outside = 1 - resize_mask(batch.mask.float(), size, self.resize)
        change = (batch.output.float() - batch.free.float()).abs()
        excess = (change - self.margin).clamp(min=0) * outside
        loss = per_sample_mean(excess.square(), outside, "area")
        return self.time_weight(batch.timestep, batch.alpha_bar) * loss


class LocalControlLoss:
    """The weighted sum of noise, z0, freedom and decoded losses, the objective of a local adapter.

    decoded: a loss of decoded z0', where there is a decoder.
    """

    def __init__(
        self,
        noise: NoiseLoss | None = None,
        z0: Z0Loss | None = None,
        noise_weight: float = 1.0,
        z0_weight: float = 0.0,
        freedom: FreedomLoss | None = None,
        freedom_weight: float = 0.0,
        decoded: Callable[[Denoising], Tensor] | None = None,
        decoded_weight: float = 0.0,
    ) -> None:
        self.noise = noise or NoiseLoss()
        self.z0 = z0 or Z0Loss()
        self.freedom = freedom or FreedomLoss()
        self.noise_weight = noise_weight
        self.z0_weight = z0_weight
        self.freedom_weight = freedom_weight
        self.decoded = decoded
        self.decoded_weight = decoded_weight

    @property
    def needs_free(self) -> bool:
        """Return whether batches must hold predictions without control."""
        return self.freedom_weight > 0

    def terms(self, batch: Denoising) -> dict[str, Tensor]:
        """Return the terms by name, each [B] and weighted; a term of weight 0 is not computed."""
        out = {"noise": self.noise_weight * self.noise(batch)}
        if self.z0_weight:
            out["z0"] = self.z0_weight * self.z0(batch)
        if self.freedom_weight:
            out["freedom"] = self.freedom_weight * self.freedom(batch)
        if self.decoded is not None and self.decoded_weight:
            out["decoded"] = self.decoded_weight * self.decoded(batch)
        return out

    def __call__(self, batch: Denoising) -> Tensor:
        """-> [B]."""
        return torch.stack(list(self.terms(batch).values())).sum(0)
