"""What the file of a control tells of the settings it was trained with."""

from pathlib import Path

from local_control.checkpoint import METADATA_PREFIX

from ..data.condition import PICTURES
from .run import TrainSettings


def metadata_of(settings: TrainSettings) -> dict[str, str]:
    """Return metadata by the names of the field and ours; it has no date and no path.

    A date would make files of equal runs differ.
    """
    condition = PICTURES if settings.conditioning_image_column else str(settings.made_condition())
    base = Path(settings.pretrained_model_name_or_path).name
    resolution = settings.resolution
    return {
        METADATA_PREFIX + "condition": condition,
        METADATA_PREFIX + "method": _method(settings),
        METADATA_PREFIX + "base": base,
        METADATA_PREFIX + "paper": "arXiv 2602.01991",
        "modelspec.title": f"Local Control {condition}",
        "modelspec.resolution": f"{resolution}x{resolution}",
        "ss_sd_model_name": base,
        "ss_resolution": f"({resolution}, {resolution})",
        "ss_max_train_steps": str(settings.max_train_steps),
        "ss_batch_size_per_device": str(settings.train_batch_size),
        "ss_gradient_accumulation_steps": str(settings.gradient_accumulation_steps),
        "ss_learning_rate": f"{settings.learning_rate:g}",
        "ss_lr_scheduler": settings.lr_scheduler,
        "ss_lr_warmup_steps": str(settings.lr_warmup_steps),
        "ss_optimizer": settings.chosen_optimizer(),
        "ss_mixed_precision": settings.mixed_precision,
        "ss_seed": str(settings.seed),
    }


def _method(settings: TrainSettings) -> str:
    """How the control is trained, in a line."""
    method = "masked features" if settings.mask_features else "features never masked"
    if settings.snr_gamma is not None:
        weight = f"min-SNR {settings.snr_gamma:g}" if settings.snr_gamma else "1/SNR"
        method += f", noise loss weighted by {weight}"
    if settings.z0_loss_weight:
        method += (
            f", z0 loss ({settings.edge}, weight {settings.z0_loss_weight:g}, "
            f"{settings.z0_loss_schedule}, mean over {settings.z0_loss_mean})"
        )
    if settings.decoded_loss_weight:
        method += f", decoded edges (weight {settings.decoded_loss_weight:g})"
    if settings.masked_condition_share:
        method += f", conditions blank outside by a share of {settings.masked_condition_share:g}"
    return method
