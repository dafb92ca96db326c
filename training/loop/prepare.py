"""What a run stands on: base, data source, data that is checked and encoded."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..cached.building import Share, build_examples, build_text
from ..cached.prepared import Part, Prepared
from ..cached.store import TensorStore
from ..config.processes import process_state
from ..config.run import TrainSettings
from ..data.buckets import assign_buckets, buckets
from ..data.checked import Checked, check_once, hold_out
from ..data.coco import Coco
from ..data.folder import ImageFolder
from ..data.hub import HubDataset, is_saved
from ..data.pictures import Size
from ..data.records import Columns, DatasetError, Record, Source
from ..data.shards import TarShards
from ..models.bases import Base, load_base
from .parts import division_of, making_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Data:
    """What is trained on, what is held out for validation, and what is prepared of both."""

    train: Part
    held_out: Part
    prepared: Prepared


def open_base(settings: TrainSettings) -> Base:
    """Return the base that the settings name."""
    return load_base(
        settings.pretrained_model_name_or_path,
        settings.base_config,
        settings.pretrained_vae_model_name_or_path,
        settings.vae_dtype,
        settings.prediction_type,
    )


def open_source(settings: TrainSettings) -> Source:
    """Return the data set that the settings name.

    Raises:
        DatasetError: it does not exist or lacks a column.
    """
    folder = settings.train_data_dir
    columns = Columns(
        image=settings.image_column or "",
        caption=settings.caption_column,
        condition=settings.conditioning_image_column,
        mask=settings.mask_column,
    )
    if folder is None:
        name, config = str(settings.dataset_name), settings.dataset_config_name
        return HubDataset(name, columns, settings.dataset_split, config)
    if settings.coco_instances is not None:
        return Coco(folder, settings.coco_instances, settings.coco_captions)
    if is_saved(folder):
        return HubDataset(str(folder), columns, settings.dataset_split)
    if shards := sorted(folder.glob("*.tar")):
        return TarShards(shards, columns)
    source = ImageFolder(folder, columns)
    source.check_apart(settings.output_dir)
    return source


def prepare_data(settings: TrainSettings, base: Base, source: Source) -> Data:
    """Check the pictures, hold some out, and encode what is missing -> what the run reads.

    Every process of a distributed run makes its share.
    """
    process = process_state()
    with process.main_process_first():  # the others find what it keeps
        checked = check_once(
            source, settings.resolution // 2, settings.max_train_samples, settings.cache_folder
        )
    records = [checked[index] for index in range(len(checked))]
    _check_records(records, settings.mask_source == "dataset", process.is_main_process)
    train, held_out = hold_out(checked, settings.validation_share)
    choices: list[Size] = [(settings.resolution, settings.resolution)]
    if settings.aspect_ratio_buckets:
        choices = buckets(settings.resolution, settings.bucket_step)
    batch = division_of(settings, process.process_index, process.num_processes).whole
    store = TensorStore(settings.cache_folder)
    data = Data(
        _part(train, choices, batch, settings.crop_variants),
        _part(held_out, choices),
        Prepared(store, making_of(settings), base.autoencoder_name, base.text_name),
    )
    captions = {record.caption for record in records}
    _build(data, base, ["", *captions], settings.dataloader_num_workers)
    return data


def _part(checked: Checked, choices: Sequence[Size], batch: int = 1, variants: int = 1) -> Part:
    return Part(checked, assign_buckets(checked.sizes, choices, batch), variants)


def _build(data: Data, base: Base, captions: Sequence[str], workers: int) -> None:
    """Encode this process's share of what is missing, and wait for the others'."""
    process = process_state()
    show = process.is_main_process
    share = Share(process.process_index, process.num_processes, workers, show)
    device = torch.device(process.device or "cpu")
    with base.text_encoders_on(device):
        build_text(data.prepared, base, captions, share)
    with base.autoencoder_on(device):
        for part in (data.train, data.held_out):
            build_examples(data.prepared, base, part, share)
    process.wait_for_everyone()


def _check_records(records: Sequence[Record], needs_masks: bool, warn: bool) -> None:
    """Say what may have been forgotten; DatasetError if there is no mask where only those count."""
    if warn and not any(record.caption for record in records):
        log.warning(
            "No picture has a caption, so the adapter learns without prompts; write NAME.txt "
            "beside each, or name --caption_column."
        )
    without = sum(record.masks is None for record in records)
    if needs_masks and without == len(records):
        raise DatasetError(
            "--mask_source dataset needs masks, and no picture has one: name --mask_column or "
            "--coco_instances."
        )
    if warn and needs_masks and without:
        log.warning(
            "%d of %d pictures have no mask of their own; --mask_source dataset draws boxes there.",
            without,
            len(records),
        )
