"""What a run stands on: base, data source, data that is checked and encoded."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from ..cached.building import Share, build_examples, build_text
from ..cached.prepared import Part, Prepared
from ..cached.store import TensorStore
from ..config.base_flags import BaseFlags
from ..config.processes import process_state
from ..config.run import TrainSettings
from ..data.buckets import assign_buckets, buckets
from ..data.catalogue import Catalogue
from ..data.checked import Checked, check, hold_out
from ..data.files import write_text
from ..data.pictures import Size
from ..data.records import DatasetError, Source
from ..models.base_files import Hub, load_base
from ..models.bases import Base
from .parts import division_of, making_of, prompted_of
from .plan import EpochPlan
from .run_data import Data
from .sources import source_of
from .tell import tell_counts, warn_of_gaps


def open_base(flags: BaseFlags) -> Base:
    """Return the base that the flags of a command name; BaseModelError: as `load_base` says."""
    return load_base(
        flags.pretrained_model_name_or_path,
        flags.base_config,
        flags.pretrained_vae_model_name_or_path,
        flags.vae_dtype,
        flags.prediction_type,
        Hub(flags.revision, flags.variant, flags.vae_revision),
    )


def open_source(settings: TrainSettings) -> Source:
    """Return the data set that the settings of a run name.

    Raises:
        DatasetError: as `source_of` says.
    """
    folders = settings.train_data_dir, settings.output_dir, settings.cache_dir
    return source_of(settings, *folders)


def prepare_data(settings: TrainSettings, base: Base, source: Source) -> Data:
    """Return what a run reads: pictures checked, some of them held out, what was missing encoded.

    Every process of a distributed run makes its share.

    Raises:
        DatasetError: the data cannot be trained on.
        OSError: the disk is nearly full; what was encoded before stays.
    """
    process = process_state()
    own_masks = settings.mask_source == "dataset"
    prompted = prompted_of(settings)
    least, folder = settings.resolution // 2, settings.cache_folder
    checked = _checked(source, least, settings.max_train_samples, folder, process)
    _check_masks(checked.catalogue, own_masks)
    train, held_out = hold_out(checked, settings.validation_share)
    choices: list[Size] = [(settings.resolution, settings.resolution)]
    if settings.aspect_ratio_buckets:
        choices = buckets(settings.resolution, settings.bucket_step)
    batch = division_of(settings, process.process_index, process.num_processes).whole
    store = _store(folder, process)
    data = Data(
        _part(train, choices, batch, settings.crop_variants),
        _part(held_out, choices),
        Prepared(store, making_of(settings), base.autoencoder_name, base.text_name),
        prompted,
    )
    if process.is_main_process:
        epoch = EpochPlan(data.train.buckets, batch, settings.seed).steps_per_epoch
        epochs = settings.num_train_epochs
        steps = settings.max_train_steps if epochs is None else epochs * epoch
        tell_counts(data, epoch, batch, steps, folder)
        warn_of_gaps(data, settings.invert_masks, own_masks)
    _build(data, base, settings.dataloader_num_workers, process)
    _build_prompts(data, base, process)
    return data


def _checked(
    source: Source, least: int, limit: int | None, folder: Path, process: PartialState
) -> Checked:
    """What the main process finds of the pictures; the others read it."""
    found: list[Path] = [Path()]
    if process.is_main_process:
        found = [check(source, least, limit, folder).catalogue.path]
    (path,) = broadcast_object_list(found)
    return Checked.all(source, Catalogue(path))


def _store(folder: Path, process: PartialState) -> TensorStore:
    """The store, whose index the main process makes."""
    with process.main_process_first():
        return TensorStore(folder)


def _part(checked: Checked, choices: Sequence[Size], batch: int = 1, variants: int = 1) -> Part:
    return Part(checked, assign_buckets(checked.sizes, choices, batch), variants)


def _build(data: Data, base: Base, workers: int, process: PartialState) -> None:
    """Encode this process's share of what is missing, and wait for the others'."""
    prepared, parts = data.prepared, (data.train, data.held_out)
    built = prepared.store.folder / f"built-{prepared.name(*parts)}.json"
    if _holds(built, prepared.store):
        return
    share = Share(process.process_index, process.num_processes, workers, process.is_main_process)
    device = torch.device(process.device or "cpu")
    with base.text_encoders_on(device):
        captions = data.train.data.catalogue.captions()
        build_text(prepared, base, captions, share)
    with base.autoencoder_on(device):
        for part in parts:
            build_examples(prepared, base, part, share)
    process.wait_for_everyone()
    with process.main_process_first():
        prepared.store.refresh()
    if process.is_main_process:
        write_text(built, json.dumps(prepared.store.shards()))


def _build_prompts(data: Data, base: Base, process: PartialState) -> None:
    """Embed the prompts of validation, which are no captions, and wait for the other processes."""
    prepared, prompts = data.prepared, {one.prompt for one in data.prompted}
    missing = [text for text in prompts if not prepared.store.has(prepared.text_name(text))]
    if not missing:
        return
    share = Share(process.process_index, process.num_processes, show=process.is_main_process)
    with base.text_encoders_on(torch.device(process.device or "cpu")):
        build_text(prepared, base, sorted(missing), share)
    process.wait_for_everyone()
    with process.main_process_first():
        prepared.store.refresh()


def _holds(built: Path, store: TensorStore) -> bool:
    """Whether all that was built once is there still: no shard has gone or was cut short."""
    try:
        shards = json.loads(built.read_text(encoding="utf-8"))
        return shards.items() <= store.shards().items()
    except (OSError, ValueError, AttributeError):
        return False


def _check_masks(catalogue: Catalogue, needed: bool) -> None:
    """DatasetError if there is no mask where only those count."""
    if needed and not catalogue.count("count > 0"):
        raise DatasetError(
            "--mask_source dataset needs masks, and no picture has one: name --mask_column or "
            "--coco_instances."
        )
