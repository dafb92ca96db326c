"""What a run stands on: base, data source, data that is checked and encoded."""

from collections.abc import Sequence

import torch

from ..cached.building import Share, build_examples, build_text
from ..cached.prepared import Part, Prepared
from ..cached.store import TensorStore
from ..config.processes import process_state
from ..config.run import TrainSettings
from ..data.buckets import assign_buckets, buckets
from ..data.catalogue import Catalogue
from ..data.checked import Checked, check, hold_out
from ..data.coco import Coco
from ..data.folder import ImageFolder
from ..data.hub import HubDataset, is_saved
from ..data.pictures import Size
from ..data.records import Columns, DatasetError, Source
from ..data.shards import TarShards, only_shards
from ..models.bases import Base, Hub, load_base
from .data import Data
from .parts import division_of, making_of
from .tell import tell


def open_base(settings: TrainSettings) -> Base:
    """Return the base that the settings name."""
    return load_base(
        settings.pretrained_model_name_or_path,
        settings.base_config,
        settings.pretrained_vae_model_name_or_path,
        settings.vae_dtype,
        settings.prediction_type,
        Hub(settings.revision, settings.variant, settings.vae_revision),
    )


def open_source(settings: TrainSettings) -> Source:
    """Return the data set that the settings name.

    Raises:
        DatasetError: it does not exist or lacks a column.
    """
    folder, outside = settings.train_data_dir, settings.allow_outside_paths
    columns = Columns(
        image=settings.image_column or "",
        caption=settings.caption_column,
        condition=settings.conditioning_image_column,
        mask=settings.mask_column,
    )
    split = settings.dataset_split
    if folder is None:
        name, config = str(settings.dataset_name), settings.dataset_config_name
        return HubDataset(name, columns, split, config, settings.dataset_revision, outside)
    if settings.coco_instances is not None:
        return Coco(folder, settings.coco_instances, settings.coco_captions, outside)
    if is_saved(folder):
        return HubDataset(str(folder), columns, split, outside=outside)
    if shards := only_shards(folder):
        return TarShards(shards, columns)
    source = ImageFolder(folder, columns, outside)
    source.check_apart(settings.output_dir)
    return source


def prepare_data(settings: TrainSettings, base: Base, source: Source) -> Data:
    """Check the pictures, hold some out, and encode what is missing -> what the run reads.

    Every process of a distributed run makes its share.
    """
    process = process_state()
    with process.main_process_first():  # the others find what it keeps
        checked = check(
            source, settings.resolution // 2, settings.max_train_samples, settings.cache_folder
        )
    _check_masks(checked.catalogue, settings.mask_source == "dataset")
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
    if process.is_main_process:
        tell(data, settings, batch)
    _build(data, base, ["", *checked.catalogue.captions()], settings.dataloader_num_workers)
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


def _check_masks(catalogue: Catalogue, needed: bool) -> None:
    """DatasetError if there is no mask where only those count."""
    if needed and not catalogue.count("count > 0"):
        raise DatasetError(
            "--mask_source dataset needs masks, and no picture has one: name --mask_column or "
            "--coco_instances."
        )
