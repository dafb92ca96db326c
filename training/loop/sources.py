"""The data set that flags name, of whichever kind it is."""

from pathlib import Path

from ..config.source_flags import SourceFlags
from ..data.coco import Coco
from ..data.folder import ImageFolder
from ..data.hub import HubDataset, is_saved
from ..data.records import Source
from ..data.shard_files import local_shards, remote_shards
from ..data.shards import TarShards, only_shards


def source_of(
    flags: SourceFlags, folder: Path | None, output_dir: Path, cache_dir: Path | None = None
) -> Source:
    """Return the data set in `folder`, or that of `--dataset_name` or `--shards_url`.

    output_dir, cache_dir (None: below that): what must not be read as pictures.

    Raises:
        DatasetError: it does not exist or lacks a column.
        UnreachableError: a store gives no answer.
    """
    columns, outside, split = flags.columns(), flags.allow_outside_paths, flags.dataset_split
    if flags.shards_url is not None:
        return TarShards(remote_shards(flags.shards_url), columns)
    if folder is None:
        name, config = str(flags.dataset_name), flags.dataset_config_name
        return HubDataset(name, columns, split, config, flags.dataset_revision, outside)
    if flags.coco_instances is not None:
        return Coco(folder, flags.coco_instances, flags.coco_captions, outside)
    if is_saved(folder):
        return HubDataset(str(folder), columns, split, outside=outside)
    if shards := only_shards(folder, output_dir):
        return TarShards(local_shards(shards), columns)
    source = ImageFolder(folder, columns, outside)
    source.check_apart("output_dir", output_dir)
    if cache_dir is not None:
        source.check_apart("cache_dir", cache_dir)
    return source
