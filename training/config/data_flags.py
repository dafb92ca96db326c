"""Flags of the data that is trained on: where it is, and how its pictures are cropped."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from .source_flags import SourceFlags


class DataFlags(SourceFlags):
    """Data."""

    train_data_dir: Path | None = Field(
        None, description="folder of pictures, of WebDataset shards or of a saved HF data set"
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
        self.check_source("train_data_dir", self.train_data_dir)
        for name in ("resolution", "bucket_step"):
            if getattr(self, name) % 64:
                raise ValueError(f"--{name} is {getattr(self, name)}; it must be a multiple of 64.")
        return self
