"""Train a local adapter: only the adapter learns, the base stays as it is.

python -m training.train --config sd15_canny --train_data_dir pictures --output_dir my-adapter
accelerate launch -m training.train ...
"""

import logging
from pathlib import Path

from .config.commands import read_settings
from .config.machine import check_machine
from .config.processes import end_as_by_hand, process_state
from .config.run import TrainSettings
from .data.records import Source
from .errors import one_sentence
from .loop.prepare import open_base, open_source, prepare_data
from .loop.preview import write_preview
from .loop.resume import check_resumable
from .loop.trainer import Trainer
from .models.bases import Base

log = logging.getLogger(__name__)


def train(settings: TrainSettings, base: Base, source: Source) -> Path:
    """Prepare the data and train -> the adapter's file."""
    check_machine(settings)
    process = process_state()
    check_resumable(settings, process.num_processes)
    trainer = Trainer(settings, base, prepare_data(settings, base, source))
    if process.is_main_process:
        write_preview(trainer.examples, settings.output_dir)
    return trainer.run()


def main() -> None:
    """Train as flags and TOML file say."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    end_as_by_hand()
    settings = read_settings(TrainSettings)
    with one_sentence(
        "While pictures were encoded: begin anew with --vae_dtype bf16. In training: lower "
        "--train_batch_size and raise --gradient_accumulation_steps by as much, or add "
        "--gradient_checkpointing, with which a saved run goes on; or begin anew with "
        "--mixed_precision bf16, --optimizer adamw_8bit or a lower --resolution."
    ):
        source = open_source(settings)
        log.info("wrote %s", train(settings, open_base(settings), source))


if __name__ == "__main__":
    main()
