"""What a run is about to do with its data, told before the first step."""

import logging

from ..config.run import TrainSettings
from .plan import EpochPlan
from .run_data import Data

log = logging.getLogger(__name__)

# A held-out loss over fewer pictures is mostly chance.
_FEW = 8


def tell(data: Data, settings: TrainSettings, batch: int) -> None:
    """Log how many pictures are used for what, and warn of what may have been forgotten.

    batch: pictures of a step, over all processes.
    """
    train, held_out = len(data.train.data), len(data.held_out.data)
    catalogue = data.train.data.catalogue
    total = train + held_out
    steps = EpochPlan(data.train.buckets, batch, settings.seed).steps_per_epoch
    whole = settings.max_train_steps
    if settings.num_train_epochs is not None:
        whole = settings.num_train_epochs * steps
    log.info(
        "%d pictures to train on and %d held out; %d steps an epoch at a global batch of %d, so "
        "%d steps are %.1f epochs; the cache is in %s.",
        *(train, held_out, steps, batch, whole, whole / steps, settings.cache_folder),
    )
    if held_out < _FEW:
        log.warning(
            "Only %d pictures are held out, so the held-out loss says little; raise "
            "--validation_share, or add pictures.",
            held_out,
        )
    without = catalogue.count("caption = ''")
    if without == total:
        log.warning(
            "No picture has a caption, so the adapter learns without prompts; write NAME.txt "
            "beside each, or name --caption_column."
        )
    elif without:
        log.warning("%d of %d pictures have no caption.", without, total)
    if not catalogue.count("count > 0"):
        return
    shade = "white" if settings.invert_masks else "black"
    if lost := catalogue.count(f"count > 0 AND {shade} = count"):
        log.warning(
            "%d of %d pictures have masks that are %s everywhere, where nothing is controlled.",
            *(lost, total, shade),
        )
    maskless = catalogue.count("count = 0")
    if maskless and settings.mask_source == "dataset":
        log.warning(
            "%d of %d pictures have no mask of their own; --mask_source dataset draws boxes there.",
            *(maskless, total),
        )
