"""What a training run is: one schema for TOML files and flags, named as in the diffusers examples.

A run's files follow from these settings, the data and the code alone.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import tomli_w
from pydantic import Field, model_validator

from local_control.losses import LocalControlLoss, Mean, NoiseLoss, Schedule, TimeWeight, Z0Loss

from ..data.condition import Condition, ConditionKind
from ..data.random_masks import OWN_SHAPES, SHAPES, RandomMasks
from .commands import CommandSettings
from .identity import defaults, differing

PRESETS = Path(__file__).parent / "presets"
PredictionName = Literal["epsilon", "v_prediction"]
Edge = Literal["none", "sobel", "sobel_gradients", "laplacian"]


class TrainSettings(CommandSettings):
    """Settings of `python -m training.train`; every one is a flag and a key of a TOML file."""

    presets: ClassVar[Path | None] = PRESETS

    config: str | None = Field(None, description="a TOML file, or the name of a preset")

    # The base and the adapter.
    pretrained_model_name_or_path: str = Field(
        description="diffusers folder or hub name, or a single .safetensors file"
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
    vae_dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
    adapter_type: Literal["auto", "full", "light", "xl"] = Field(
        "auto", description="auto: xl for SDXL, full for all others"
    )
    adapter_model_name_or_path: Path | None = Field(
        None, description="start from this adapter, in any layout"
    )

    # The data.
    train_data_dir: Path | None = Field(
        None, description="folder of pictures, of WebDataset shards or of a saved HF data set"
    )
    dataset_name: str | None = Field(None, description="name of an HF data set")
    dataset_config_name: str | None = Field(None, description="which of its configurations")
    dataset_split: str = "train"
    coco_instances: Path | None = Field(None, description="COCO instances_*.json")
    coco_captions: Path | None = Field(None, description="COCO captions_*.json")
    image_column: str | None = None
    caption_column: str = "text"
    conditioning_image_column: str | None = Field(
        None, description="read conditions from here instead of computing them"
    )
    mask_column: str | None = None
    resolution: int = Field(512, ge=64)
    aspect_ratio_buckets: bool = False
    bucket_step: int = Field(64, ge=64)
    center_crop: bool = False
    random_flip: bool = False
    crop_variants: int = Field(
        4, ge=1, description="different crops and flips of a picture, all cached"
    )
    proportion_empty_prompts: float = Field(0.1, ge=0, le=1)
    max_train_samples: int | None = Field(None, ge=1)
    validation_share: float = Field(0.02, gt=0, lt=1, description="share of pictures held out")

    # The condition and the mask (white = controlled).
    condition: ConditionKind = "canny"
    canny_low: float = Field(100.0, ge=0)
    canny_high: float = Field(200.0, ge=0)
    canny_blur: float = Field(0.0, ge=0, description="px, the Gaussian before Canny; 0: none")
    colour_blocks: int = Field(8, ge=1)
    mask_source: Literal["mixed", "random", "dataset", "full"] = Field(
        "mixed", description="shapes and the data set's masks, only one of them, or the whole frame"
    )
    mask_shares: dict[str, float] = Field(
        default_factory=dict, description=f"weights of {', '.join(SHAPES)} (default: a mixture)"
    )
    invert_masks: bool = Field(False, description="the data set's masks are black = controlled")
    masked_condition_share: float = Field(
        0.0, ge=0, le=1, description="share of conditions that are blank outside the mask"
    )

    # The objective.
    mask_features: bool = True
    masked_noise_loss: bool = False
    snr_gamma: float | None = Field(None, gt=0, description="min-SNR weight of the noise loss")
    z0_loss_weight: float = Field(4.0, ge=0)
    z0_loss_schedule: Schedule = "alpha_bar"
    z0_loss_mean: Mean = "area"
    z0_loss_erode: int = Field(0, ge=0)
    edge: Edge = "sobel"
    timestep_sampling: Literal["uniform", "cubic"] = "cubic"

    # The optimisation.
    train_batch_size: int = Field(4, ge=1, description="on each device")
    gradient_accumulation_steps: int = Field(1, ge=1)
    max_train_steps: int = Field(20_000, ge=1)
    learning_rate: float = Field(1e-4, gt=0)
    lr_scheduler: Literal[
        "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup"
    ] = "cosine"
    lr_warmup_steps: int = Field(500, ge=0)
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    fused: bool = True
    adam_beta1: float = Field(0.9, ge=0, lt=1)
    adam_beta2: float = Field(0.999, ge=0, lt=1)
    adam_weight_decay: float = Field(1e-2, ge=0)
    adam_epsilon: float = Field(1e-8, gt=0)
    max_grad_norm: float = Field(1.0, gt=0, description="inf: gradients are never clipped")
    use_ema: bool = False
    ema_decay: float = Field(0.999, ge=0, lt=1)
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    gradient_checkpointing: bool = False
    channels_last: bool = False
    torch_compile: bool = False
    allow_tf32: bool = False
    deterministic: bool = Field(
        False, description="deterministic kernels; CUDA wants CUBLAS_WORKSPACE_CONFIG=:4096:8 too"
    )
    dataloader_num_workers: int = Field(0, ge=0)
    seed: int = Field(0, ge=0)

    # Files, progress and validation.
    output_dir: Path = Path("local-control-adapter")
    cache_dir: Path | None = Field(None, description="default: OUTPUT_DIR/cache")
    checkpointing_steps: int = Field(500, ge=1)
    checkpoints_total_limit: int = Field(2, ge=1)
    resume_from_checkpoint: str | None = Field(
        None, description="'latest', or a state-*.safetensors of this run"
    )
    validation_steps: int = Field(500, ge=1)
    validation_timesteps: tuple[Annotated[int, Field(ge=0, lt=1000)], ...] = Field(
        (100, 300, 500, 700, 900), min_length=1
    )
    num_validation_images: int = Field(4, ge=0)
    num_inference_steps: int = Field(20, ge=1)
    guidance_scale: float = Field(5.0, ge=0)
    report_to: Literal["tensorboard", "wandb", "none"] = "tensorboard"

    @model_validator(mode="after")
    def _one_data_set(self) -> Self:
        if (self.train_data_dir is None) == (self.dataset_name is None):
            raise ValueError("Name either --train_data_dir or --dataset_name.")
        if self.dataset_config_name and not self.dataset_name:
            raise ValueError("--dataset_config_name needs --dataset_name.")
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

    @model_validator(mode="after")
    def _masks_that_there_are(self) -> Self:
        shares, source = self.mask_shares, self.mask_source
        if unknown := shares.keys() - SHAPES.keys():
            raise ValueError(
                f"--mask_shares knows {', '.join(SHAPES)}, not {', '.join(sorted(unknown))}."
            )
        if shares and not (all(share >= 0 for share in shares.values()) and any(shares.values())):
            raise ValueError("--mask_shares must be at least 0, and one of them more.")
        if source == "full" and shares:
            raise ValueError("--mask_source full has no shapes; drop --mask_shares.")
        if source == "random" and (own := sorted(shares.keys() & OWN_SHAPES)):
            raise ValueError(
                f"--mask_source random never looks at the data set's masks; drop {own[0]} from "
                f"--mask_shares, or use mixed."
            )
        drawn = shares.keys() - OWN_SHAPES - {"full", "empty"}
        if source == "dataset" and drawn:
            raise ValueError(
                f"--mask_source dataset draws no shapes; drop {min(drawn)} from --mask_shares, or "
                f"use mixed."
            )
        if self.invert_masks and not (self.mask_column or self.coco_instances):
            raise ValueError("--invert_masks needs masks: name --mask_column.")
        return self

    @model_validator(mode="after")
    def _no_contradictions(self) -> Self:
        if self.canny_low > self.canny_high:
            raise ValueError(
                f"--canny_low {self.canny_low:g} is more than --canny_high {self.canny_high:g}."
            )
        if self.base_config and Path(self.pretrained_model_name_or_path).suffix != ".safetensors":
            raise ValueError("--base_config is for a base in one .safetensors file; drop it.")
        if self.optimizer == "adamw_8bit" and "fused" in self.model_fields_set and self.fused:
            raise ValueError("--fused is for --optimizer adamw; drop one of the two.")
        if self.lr_warmup_steps > self.max_train_steps:
            raise ValueError(
                f"--lr_warmup_steps {self.lr_warmup_steps} is more than --max_train_steps "
                f"{self.max_train_steps}."
            )
        return self

    @property
    def cache_folder(self) -> Path:
        """Where latents, conditions and text embeddings are kept."""
        return self.cache_dir or self.output_dir / "cache"

    def made_condition(self) -> Condition:
        """Return what is computed from pictures, where no column has it."""
        canny = (self.canny_low, self.canny_high, self.canny_blur)
        return Condition(self.condition, *canny, self.colour_blocks)

    def condition_channels(self) -> int:
        """Return how many channels the adapter reads; pictures from a column have three."""
        return 3 if self.conditioning_image_column else self.made_condition().channels

    def masks(self) -> RandomMasks:
        """Return the masks that are drawn in training."""
        return RandomMasks.of(self.mask_source, self.mask_shares)

    def loss(self) -> LocalControlLoss:
        """Return the objective that these settings name."""
        mean: Mean = "area" if self.masked_noise_loss else "pixels"
        noise = NoiseLoss(self.masked_noise_loss, mean, snr_gamma=self.snr_gamma)
        z0 = Z0Loss(
            None if self.edge == "none" else self.edge,
            TimeWeight(self.z0_loss_schedule),
            mean=self.z0_loss_mean,
            erode_cells=self.z0_loss_erode,
        )
        return LocalControlLoss(noise, z0, z0_weight=self.z0_loss_weight)

    def resolved(self) -> dict[str, Any]:
        """Return every setting as TOML and JSON can hold it; what is not set is left out."""
        found = self.model_dump(mode="json", exclude_none=True, exclude={"config"})
        if self.optimizer != "adamw":
            found["fused"] = False  # it is AdamW's alone, and would be refused when read again
        return found

    def differences(
        self, other: Mapping[str, Any], processes: int = 1, other_processes: int = 1
    ) -> list[str]:
        """Return the names of the settings that make the weights others than those of `other`.

        other: what `resolved` gave for that run, now or before some settings existed: what it does
        not have counts as its default. Left out is what no weight depends on, where the same files
        are, how the global batch is made up of batch, accumulation and processes (another global
        batch is called train_batch_size), and a larger max_train_steps where the learning rate is
        constant; all others end with the run.
        """
        before = {key: other.get(key, value) for key, value in defaults(type(self)).items()}
        return differing(self.resolved(), before, processes, other_processes)

    def write(self) -> None:
        """Write the resolved settings beside the outputs; `--config` reads them again."""
        self.output_dir.mkdir(parents=True, exist_ok=True)
        found = self.resolved()
        found.pop("resume_from_checkpoint", None)  # the file names the run, not how it was begun
        (self.output_dir / "config.toml").write_text(tomli_w.dumps(found), encoding="utf-8")
