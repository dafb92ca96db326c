"""Flags of what a run writes: files, checkpoints, validation, trackers."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .commands import CommandSettings
from .sentences import Sentences


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
    num_validation_images: int = Field(
        4, ge=0, description="held-out pictures whose controls validation samples with"
    )
    validation_prompt: Sentences = Field(
        (), description="prompts to sample as well, one for all pictures or one for each"
    )
    validation_image: Sentences = Field(
        (),
        description="pictures for them, whose conditions are made as in training; with "
        "--conditioning_image_column they are conditions",
    )
    validation_mask: Sentences = Field(
        (), description="a mask for each of these, white = controlled (default: all is)"
    )
    num_inference_steps: int = Field(
        20, ge=1, le=1000, description="steps in which it samples them"
    )
    guidance_scale: float = Field(5.0, ge=0, description="classifier-free guidance of them")
    report_to: Literal["tensorboard", "wandb", "all", "none"] = Field(
        "tensorboard", description="where curves go; all: to every tracker that is installed"
    )
    tracker_project_name: str = Field(
        "local_control", min_length=1, description="what trackers call the project"
    )
    logging_dir: Path | None = Field(None, description="of trackers; default: OUTPUT_DIR/logs")

    @model_validator(mode="after")
    def _prompts_with_pictures(self) -> Self:
        prompts, images = len(self.validation_prompt), len(self.validation_image)
        if (images and prompts not in (1, images)) or (prompts and not images):
            raise ValueError(
                f"--validation_prompt has {prompts} and --validation_image {images}; give as many "
                f"pictures as prompts, or one prompt for all."
            )
        if self.validation_mask and len(self.validation_mask) != images:
            raise ValueError(
                f"--validation_mask has {len(self.validation_mask)} and --validation_image "
                f"{images}; give a mask for each picture, or none."
            )
        return self

    @property
    def cache_folder(self) -> Path:
        """Return where latents, conditions and text embeddings are kept."""
        return self.cache_dir or self.output_dir / "cache"
