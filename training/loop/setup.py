"""From settings to what a run needs: base, data source, prepared data."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..cached.prepare import Cache, Part
from ..config.processes import process_state
from ..config.run import TrainSettings
from ..data.augment import Size, buckets
from ..data.checked import Checked, check_once, hold_out
from ..data.coco import Coco
from ..data.dataset import Columns, DatasetError, ImageFolder, Record, Source
from ..data.sources import HubDataset, TarShards, is_saved
from ..models.bases import Base, load_base
from .plan import assign_buckets

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Data:
    """What is trained on, and what is held out for validation."""

    train: Part
    held_out: Part


def open_base(settings: TrainSettings) -> Base:
    """The base that the settings name."""
    return load_base(
        settings.pretrained_model_name_or_path,
        settings.base_config,
        settings.pretrained_vae_model_name_or_path,
        settings.vae_dtype,
        settings.prediction_type,
    )


def open_source(settings: TrainSettings) -> Source:
    """The data set that the settings name.

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


def prepare_data(settings: TrainSettings, base: Base, source: Source) -> tuple[Data, Cache]:
    """Check the pictures, hold some out, and cache what the run reads.

    Every process of a distributed run makes its share of the cache.
    """
    process = process_state()
    with process.main_process_first():  # the others find what it keeps
        checked = check_once(
            source, settings.resolution // 2, settings.max_train_samples, settings.cache_folder
        )
    records = [checked[index] for index in range(len(checked))]
    _check_records(records, settings.mask_source == "dataset", process.is_main_process)
    train, held_out = hold_out(checked, settings.validation_share)
    global_batch = (
        settings.train_batch_size * settings.gradient_accumulation_steps * process.num_processes
    )
    data = Data(
        _part(train, settings, global_batch, settings.crop_variants), _part(held_out, settings)
    )
    cache = Cache(settings, base.autoencoder_name, base.text_name)
    worker = (process.process_index, process.num_processes)
    captions = {record.caption for record in records}
    device = torch.device(process.device or "cpu")
    with base.text_encoders_on(device):
        cache.build_text(base, ["", *captions], worker, process.is_main_process)
    with base.autoencoder_on(device):
        for part in (data.train, data.held_out):
            cache.build_examples(base, part, worker, process.is_main_process)
    process.wait_for_everyone()
    return data, cache


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


def _part(checked: Checked, settings: TrainSettings, batch: int = 1, variants: int = 1) -> Part:
    square = (settings.resolution, settings.resolution)
    choices: list[Size] = [square]
    if settings.aspect_ratio_buckets:
        choices = buckets(settings.resolution, settings.bucket_step)
    return Part(checked, assign_buckets(checked.sizes, choices, batch), variants)
