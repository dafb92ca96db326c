"""Flags of a data set: what it is, and which of its columns hold what."""

from pathlib import Path

from pydantic import Field

from ..data.records import Columns
from .commands import CommandSettings


class SourceFlags(CommandSettings):
    """Data set."""

    shards_url: str | None = Field(
        None,
        description="address of WebDataset shards that fsspec reads: s3://bucket/pictures/*.tar",
    )
    dataset_name: str | None = Field(None, description="name of an HF data set")
    dataset_config_name: str | None = Field(None, description="which of its configurations")
    dataset_revision: str | None = Field(
        None, description="branch, tag or commit of an HF data set on the hub"
    )
    dataset_split: str = Field("train", description="which split of an HF data set")
    coco_instances: Path | None = Field(None, description="COCO instances_*.json")
    coco_captions: Path | None = Field(None, description="COCO captions_*.json")
    allow_outside_paths: bool = Field(
        False, description="read files that the data set names outside of its folder"
    )
    image_column: str | None = Field(
        None, description="column of the pictures (default: file_name, or image in HF data sets)"
    )
    caption_column: str = Field("text", description="column of the captions")
    conditioning_image_column: str | None = Field(
        None, description="read conditions from here instead of computing them"
    )
    mask_column: str | None = Field(
        None, description="column of masks of each picture: a path or picture, or a list of them"
    )

    def check_source(self, flag: str, folder: Path | None) -> None:
        """Raise ValueError if no data set is named, or more than one, or what does not go with it.

        folder: what `--FLAG` names.
        """
        if sum(named is not None for named in (folder, self.dataset_name, self.shards_url)) != 1:
            raise ValueError(f"Name one of --{flag}, --dataset_name and --shards_url.")
        if self.dataset_config_name and not self.dataset_name:
            raise ValueError("--dataset_config_name needs --dataset_name.")
        if self.dataset_revision and not self.dataset_name:
            raise ValueError("--dataset_revision needs --dataset_name.")
        if self.coco_captions and not self.coco_instances:
            raise ValueError("--coco_captions needs --coco_instances.")
        if self.coco_instances:
            for name in ("dataset_name", "shards_url"):
                if getattr(self, name):
                    raise ValueError(f"--coco_instances wants --{flag}; drop --{name}.")
            if self.mask_column:
                raise ValueError("COCO's masks are in --coco_instances; drop --mask_column.")
            if self.conditioning_image_column:
                raise ValueError("COCO has no conditions; drop --conditioning_image_column.")

    def columns(self) -> Columns:
        """Return which columns hold what."""
        return Columns(
            image=self.image_column or "",
            caption=self.caption_column,
            condition=self.conditioning_image_column,
            mask=self.mask_column,
        )
