"""Flags of what a run writes: files, checkpoints, validation, trackers."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from .commands import CommandSettings


class OutputFlags(CommandSettings):
    """Files, progress and validation."""

    output_dir: Path = Field(
        Path("local-control-adapter"), description="where everything is written"
    )
    cache_dir: Path | None = Field(None, description="default: OUTPUT_DIR/cache")
    checkpointing_steps: int = Field(500, ge=1, description="steps between checkpoints")
    checkpoints_total_limit: int = Field(2, ge=1, description="how many checkpoints are kept")
    resume_from_checkpoint: str | None = Field(
        None, description="'latest', or a state-*.safetensors of this run"
    )
    validation_steps: int = Field(500, ge=1, description="steps between validations")
    validation_timesteps: tuple[Annotated[int, Field(ge=0, lt=1000)], ...] = Field(
        (100, 300, 500, 700, 900), min_length=1, description="noise levels of the held-out loss"
    )
    num_validation_images: int = Field(4, ge=0, description="pictures that validation samples")
    num_inference_steps: int = Field(20, ge=1, description="steps in which it samples them")
    guidance_scale: float = Field(5.0, ge=0, description="classifier-free guidance of them")
    report_to: Literal["tensorboard", "wandb", "all", "none"] = Field(
        "tensorboard", description="where curves go; all: to every tracker that is installed"
    )
    tracker_project_name: str = Field(
        "local_control", min_length=1, description="what trackers call the project"
    )
    logging_dir: Path | None = Field(None, description="of trackers; default: OUTPUT_DIR/logs")

    @property
    def cache_folder(self) -> Path:
        """Where latents, conditions and text embeddings are kept."""
        return self.cache_dir or self.output_dir / "cache"
