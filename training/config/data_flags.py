"""Flags of the data: where pictures and captions come from, and how they are cropped."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from .commands import CommandSettings


class DataFlags(CommandSettings):
    """Data."""

    train_data_dir: Path | None = Field(
        None, description="folder of pictures, of WebDataset shards or of a saved HF data set"
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
    resolution: int = Field(
        512, ge=64, description="px, side of the squares that are trained on; a multiple of 64"
    )
    aspect_ratio_buckets: bool = Field(
        False,
        description="train on other shapes of as many pixels too, each picture in the nearest",
    )
    bucket_step: int = Field(64, ge=64, description="px, sides of buckets are multiples of it")
    center_crop: bool = Field(False, description="crop in the centre, not at random")
    random_flip: bool = Field(False, description="mirror half of the crops")
    crop_variants: int = Field(
        4, ge=1, description="different crops and flips of a picture, all cached"
    )
    proportion_empty_prompts: float = Field(
        0.1, ge=0, le=1, description="share of examples whose caption is left out"
    )
    max_train_samples: int | None = Field(
        None, ge=1, description="use the first so many pictures only"
    )
    validation_share: float = Field(0.02, gt=0, lt=1, description="share of pictures held out")

    @model_validator(mode="after")
    def _one_data_set(self) -> Self:
        if (self.train_data_dir is None) == (self.dataset_name is None):
            raise ValueError("Name either --train_data_dir or --dataset_name.")
        if self.dataset_config_name and not self.dataset_name:
            raise ValueError("--dataset_config_name needs --dataset_name.")
        if self.dataset_revision and not self.dataset_name:
            raise ValueError("--dataset_revision needs --dataset_name.")
        if self.coco_captions and not self.coco_instances:
            raise ValueError("--coco_captions needs --coco_instances.")
        if self.coco_instances:
            if self.dataset_name:
                raise ValueError("--coco_instances wants --train_data_dir; drop --dataset_name.")
            if self.mask_column:
                raise ValueError("COCO's masks are in --coco_instances; drop --mask_column.")
            if self.conditioning_image_column:
                raise ValueError("COCO has no conditions; drop --conditioning_image_column.")
        for name in ("resolution", "bucket_step"):
            if getattr(self, name) % 64:
                raise ValueError(f"--{name} is {getattr(self, name)}; it must be a multiple of 64.")
        return self
