"""Train a local adapter or ControlNet: only it learns, the base stays as it is.

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
from .loop.parts import repository_of
from .loop.prepare import open_base, open_source, prepare_data
from .loop.preview import write_preview
from .loop.resume import check_resumable
from .loop.run_data import Data
from .loop.trainer import Trainer
from .models.bases import Base

log = logging.getLogger(__name__)


def train(settings: TrainSettings, base: Base, source: Source) -> Path:
    """Return the control's file, trained on a data set that is prepared first.

    Raises:
        as `prepare` and `Trainer.run` say.
    """
    return run(settings, base, prepare(settings, base, source))


def prepare(settings: TrainSettings, base: Base, source: Source) -> Data:
    """Return what the run reads, prepared once all that cannot work is refused.

    Raises:
        SettingsError, MachineError, ResumeError, PublishError: it would fail later.
        DatasetError, OSError: as `prepare_data` says.
    """
    processes = process_state().num_processes
    settings = settings.settled(processes)
    check_machine(settings)
    check_resumable(settings, processes)
    if settings.push_to_hub and process_state().is_main_process:
        log.info("the run will be pushed to %s", repository_of(settings).open())
    return prepare_data(settings, base, source)


def run(settings: TrainSettings, base: Base, data: Data) -> Path:
    """Return the control's file, trained on what is prepared."""
    trainer = Trainer(settings, base, data)
    if process_state().is_main_process:
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
        # Before processes meet: under FSDP transformers loads weights for one of them alone then.
        base = open_base(settings)
        data = prepare(settings, base, source)
        base.free_text_encoders()
        log.info("wrote %s", run(settings, base, data))


if __name__ == "__main__":
    main()
