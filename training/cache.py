"""Build the cache of a run beforehand: latents, conditions and text embeddings.

python -m training.cache --config sd15_canny --train_data_dir pictures --output_dir my-adapter

Takes the settings of `training.train`, which finds what is built here. Stopped, it goes on where it
was; `accelerate launch -m training.cache` shares the work among processes.
"""

import logging

from .config.commands import read_settings
from .config.processes import end_as_by_hand
from .config.run import TrainSettings
from .errors import one_sentence
from .loop.prepare import open_base, open_source, prepare_data

log = logging.getLogger(__name__)


def main() -> None:
    """Check the data set and encode what is missing."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    end_as_by_hand()
    settings = read_settings(TrainSettings)
    with one_sentence("Add --vae_dtype bf16, or lower --resolution. What is cached stays."):
        source = open_source(settings)
        data = prepare_data(settings, open_base(settings), source)
    counts = len(data.train.data), len(data.held_out.data)
    log.info("%d pictures to train on and %d held out are cached", *counts)


if __name__ == "__main__":
    main()
