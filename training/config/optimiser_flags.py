"""Flags of the optimisation: batches, steps, learning rate, precision, kernels."""

from typing import Literal, NamedTuple, Self

from pydantic import Field, model_validator

from .commands import CommandSettings

OptimizerName = Literal["adamw", "adamw_8bit", "adafactor", "lion", "prodigy"]


class Package(NamedTuple):
    """A library by the name of its module and the one by which pip knows it."""

    module: str
    pip: str


# Those of optimisers that torch has not itself.
PACKAGES = {
    "adamw_8bit": Package("bitsandbytes", "bitsandbytes"),
    "lion": Package("lion_pytorch", "lion-pytorch"),
    "prodigy": Package("prodigyopt", "prodigyopt"),
}


class OptimiserFlags(CommandSettings):
    """Optimisation."""

    train_batch_size: int = Field(4, ge=1, description="on each device")
    gradient_accumulation_steps: int = Field(
        1, ge=1, description="batches whose gradients make up one step"
    )
    max_train_steps: int = Field(20_000, ge=1, description="steps of the whole run")
    num_train_epochs: int | None = Field(
        None, ge=1, description="epochs of the whole run, in place of --max_train_steps"
    )
    learning_rate: float = Field(
        1e-4, gt=0, description="the highest one; for prodigy, which finds its own, a factor"
    )
    scale_lr: bool = Field(
        False, description="multiply --learning_rate by the global batch, over all processes"
    )
    lr_scheduler: Literal[
        "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup"
    ] = Field("cosine", description="how the learning rate changes")
    lr_warmup_steps: int = Field(500, ge=0, description="steps in which it rises")
    lr_num_cycles: int = Field(1, ge=1, description="restarts of cosine_with_restarts")
    lr_power: float = Field(1.0, gt=0, description="power of polynomial")
    optimizer: OptimizerName = Field(
        "adamw",
        description="adafactor is torch's own and needs the least memory; adamw_8bit needs "
        "bitsandbytes, lion lion-pytorch, prodigy prodigyopt",
    )
    use_8bit_adam: bool = Field(False, description="the same as --optimizer adamw_8bit")
    fused: bool = Field(True, description="AdamW in one kernel")
    adam_beta1: float = Field(
        0.9, ge=0, lt=1, description="decay of the mean of gradients, not for adafactor"
    )
    adam_beta2: float = Field(
        0.999, ge=0, lt=1, description="decay of their mean square; lion usually has 0.99"
    )
    adam_weight_decay: float = Field(1e-2, ge=0, description="decay of the weights")
    adam_epsilon: float = Field(1e-8, gt=0, description="added to the root of the mean square")
    max_grad_norm: float = Field(
        1.0, gt=0, allow_inf_nan=True, description="inf: gradients are never clipped"
    )
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
    seed: int = Field(0, ge=0, lt=2**63, description="of every draw")

    @model_validator(mode="after")
    def _no_contradictions(self) -> Self:
        given = self.model_fields_set
        if self.use_8bit_adam and "optimizer" in given and self.optimizer != "adamw_8bit":
            raise ValueError(
                f"--use_8bit_adam is --optimizer adamw_8bit, not {self.optimizer}; drop one of the "
                f"two."
            )
        if self.chosen_optimizer() != "adamw" and "fused" in given and self.fused:
            raise ValueError("--fused is for --optimizer adamw; drop one of the two.")
        if self.optimizer == "prodigy" and self.learning_rate < 0.1:
            raise ValueError(
                f"--optimizer prodigy finds the learning rate itself, and --learning_rate is a "
                f"factor of it: give 1, not {self.learning_rate:g}."
            )
        if self.num_train_epochs is None:
            self.check_warmup(self.max_train_steps)
        elif "max_train_steps" in given:
            raise ValueError("Name either --max_train_steps or --num_train_epochs.")
        return self

    def chosen_optimizer(self) -> OptimizerName:
        """Return the optimiser that either flag names."""
        return "adamw_8bit" if self.use_8bit_adam else self.optimizer

    def check_warmup(self, steps: int) -> None:
        """Raise ValueError if the learning rate would still rise at the end of a run."""
        if self.lr_warmup_steps > steps:
            raise ValueError(
                f"--lr_warmup_steps {self.lr_warmup_steps} is more than --max_train_steps {steps}."
            )
