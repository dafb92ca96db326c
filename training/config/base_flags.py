"""Flags of the base model."""

from typing import Literal

from pydantic import Field

from .commands import CommandSettings

PredictionName = Literal["epsilon", "v_prediction"]


class BaseFlags(CommandSettings):
    """Base model."""

    pretrained_model_name_or_path: str = Field(
        description="diffusers folder or hub name, or a single .safetensors file"
    )
    revision: str | None = Field(None, description="branch, tag or commit of the base on the hub")
    variant: str | None = Field(
        None, description="which of the base's weights, such as fp16 for *.fp16.safetensors"
    )
    base_config: str | None = Field(
        None, description="diffusers folder or hub name with the configs of a single file"
    )
    prediction_type: PredictionName | None = Field(
        None, description="what the base predicts (default: as its file or configs say)"
    )
    pretrained_vae_model_name_or_path: str | None = Field(
        None, description="another autoencoder: diffusers folder or hub name"
    )
    vae_revision: str | None = Field(
        None, description="branch, tag or commit of the other autoencoder on the hub"
    )
    vae_dtype: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32", description="precision in which pictures are encoded"
    )
