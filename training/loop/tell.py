"""What a run is about to do with its data, told before the first step."""

import logging
from pathlib import Path

from .run_data import Data

log = logging.getLogger(__name__)

# A held-out loss over fewer pictures is mostly chance.
_FEW = 8


def tell_counts(data: Data, steps_per_epoch: int, batch: int, steps: int, cache: Path) -> None:
    """Log how many pictures are used for what.

    batch: pictures of a step, over all processes. steps: of the whole run. cache: where it is.
    """
    log.info(
        "%d pictures to train on and %d held out; %d steps an epoch at a global batch of %d, so "
        "%d steps are %.1f epochs; the cache is in %s.",
        *(len(data.train.data), len(data.held_out.data), steps_per_epoch, batch),
        *(steps, steps / steps_per_epoch, cache),
    )


def warn_of_gaps(data: Data, inverted: bool, boxes: bool) -> None:
    """Warn of what may have been forgotten: held-out pictures, captions, masks.

    inverted: masks are black where control acts. boxes: they are drawn where a picture has none.
    """
    held_out = len(data.held_out.data)
    catalogue = data.train.data.catalogue
    total = len(data.train.data) + held_out
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
    shade = "white" if inverted else "black"
    if lost := catalogue.count(f"count > 0 AND {shade} = count"):
        log.warning(
            "%d of %d pictures have masks that are %s everywhere, where nothing is controlled.",
            *(lost, total, shade),
        )
    maskless = catalogue.count("count = 0")
    if maskless and boxes:
        log.warning(
            "%d of %d pictures have no mask of their own; --mask_source dataset draws boxes there.",
            *(maskless, total),
        )
