"""Flags of the base model and of what controls it."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from .commands import CommandSettings

PredictionName = Literal["epsilon", "v_prediction"]


class BaseFlags(CommandSettings):
    """Base and control."""

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
    control: Literal["adapter", "controlnet"] = Field(
        "adapter",
        description="what is trained: a T2I-Adapter, or a ControlNet, which follows more closely "
        "and costs much more",
    )
    controlnet_model_name_or_path: Path | None = Field(
        None,
        description="start from this ControlNet, a file or folder in diffusers' layout (default: "
        "from the base's UNet)",
    )
    adapter_type: Literal["auto", "full", "light", "xl"] = Field(
        "auto", description="auto: xl for SDXL, full for all others"
    )
    adapter_model_name_or_path: Path | None = Field(
        None, description="start from this adapter, in any layout"
    )
