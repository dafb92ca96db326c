"""Flags of the optimisation: batches, steps, learning rate, precision, kernels."""

from typing import Literal, Self

from pydantic import Field, model_validator

from .commands import CommandSettings


class OptimiserFlags(CommandSettings):
    """Optimisation."""

    train_batch_size: int = Field(4, ge=1, description="on each device")
    gradient_accumulation_steps: int = Field(
        1, ge=1, description="batches whose gradients make up one step"
    )
    max_train_steps: int = Field(20_000, ge=1, description="steps of the whole run")
    learning_rate: float = Field(1e-4, gt=0, description="the highest one")
    lr_scheduler: Literal[
        "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup"
    ] = Field("cosine", description="how the learning rate changes")
    lr_warmup_steps: int = Field(500, ge=0, description="steps in which it rises")
    lr_num_cycles: int = Field(1, ge=1, description="restarts of cosine_with_restarts")
    lr_power: float = Field(1.0, gt=0, description="power of polynomial")
    optimizer: Literal["adamw", "adamw_8bit"] = Field(
        "adamw", description="adamw_8bit needs bitsandbytes and less memory"
    )
    fused: bool = Field(True, description="AdamW in one kernel")
    adam_beta1: float = Field(0.9, ge=0, lt=1, description="decay of the mean of gradients")
    adam_beta2: float = Field(0.999, ge=0, lt=1, description="decay of their mean square")
    adam_weight_decay: float = Field(1e-2, ge=0, description="decay of the weights")
    adam_epsilon: float = Field(1e-8, gt=0, description="added to the root of the mean square")
    max_grad_norm: float = Field(1.0, gt=0, description="inf: gradients are never clipped")
    use_ema: bool = Field(False, description="validate and write an average of the weights")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="how slowly the average follows")
    mixed_precision: Literal["no", "bf16", "fp16"] = Field(
        "no", description="of forward and backward; weights, noise and losses stay in fp32"
    )
    gradient_checkpointing: bool = Field(
        False, description="compute the base's features again, which takes time for memory"
    )
    channels_last: bool = Field(False, description="memory layout that many convolutions prefer")
    torch_compile: bool = Field(False, description="compile the base")
    allow_tf32: bool = Field(False, description="multiply in TF32 on NVIDIA GPUs")
    deterministic: bool = Field(
        False, description="deterministic kernels; CUDA wants CUBLAS_WORKSPACE_CONFIG=:4096:8 too"
    )
    dataloader_num_workers: int = Field(
        0, ge=0, description="processes that read and crop; 0: the training one does"
    )
    seed: int = Field(0, ge=0, description="of every draw")

    @model_validator(mode="after")
    def _no_contradictions(self) -> Self:
        if self.optimizer == "adamw_8bit" and "fused" in self.model_fields_set and self.fused:
            raise ValueError("--fused is for --optimizer adamw; drop one of the two.")
        if self.lr_warmup_steps > self.max_train_steps:
            raise ValueError(
                f"--lr_warmup_steps {self.lr_warmup_steps} is more than --max_train_steps "
                f"{self.max_train_steps}."
            )
        return self
