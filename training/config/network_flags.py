"""Flags of the network that learns to control the base."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from .commands import CommandSettings


class NetworkFlags(CommandSettings):
    """What is trained."""

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
