"""The parts of a run as its settings name them; what is below takes values, not settings."""

import torch
from torch import nn

from ..cached.prepared import Making
from ..config.run import TrainSettings
from ..models.bases import Base
from ..models.controls import Control
from ..models.new_control import new_adapter, new_controlnet
from ..models.sample import Sampling
from .examples import Division, Draws
from .optimisation import LearningRate, Stepping

# By the names of --mixed_precision.
DTYPES = {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def precision_of(settings: TrainSettings) -> torch.dtype | None:
    """Return the dtype of mixed precision, or None."""
    return DTYPES[settings.mixed_precision]


def making_of(settings: TrainSettings) -> Making:
    """Return how samples become what is cached."""
    return Making(
        centred=settings.center_crop,
        flip=settings.random_flip,
        condition=settings.made_condition(),
        invert=settings.invert_masks,
    )


def draws_of(settings: TrainSettings) -> Draws:
    """Return what is drawn for each use of a sample."""
    return Draws(
        settings.seed,
        settings.masks(),
        settings.proportion_empty_prompts,
        settings.masked_condition_share,
        settings.noise_offset,
        settings.input_perturbation,
    )


def division_of(settings: TrainSettings, rank: int, world: int) -> Division:
    """Return how a step's global batch is divided, as seen by process `rank` of `world`."""
    parts = settings.gradient_accumulation_steps
    return Division(settings.train_batch_size, parts, rank, world)


def control_of(settings: TrainSettings, base: Base) -> Control:
    """Return the control at the start; AdapterFileError, BaseModelError: it does not fit."""
    if settings.control == "controlnet":
        return new_controlnet(base, settings.seed, settings.controlnet_model_name_or_path)
    kind = None if settings.adapter_type == "auto" else settings.adapter_type
    channels, file = settings.condition_channels(), settings.adapter_model_name_or_path
    return new_adapter(base, channels, kind, settings.seed, file)


def optimizer_of(settings: TrainSettings, network: nn.Module) -> torch.optim.Optimizer:
    """Return the optimiser of a network."""
    stepping = Stepping(
        settings.chosen_optimizer(),
        (settings.adam_beta1, settings.adam_beta2),
        settings.adam_weight_decay,
        settings.adam_epsilon,
        settings.fused,
    )
    return stepping.new(network.parameters(), settings.learning_rate)


def learning_rate_of(settings: TrainSettings) -> LearningRate:
    """Return the learning rate of a run."""
    return LearningRate(
        settings.lr_scheduler,
        settings.learning_rate,
        settings.lr_warmup_steps,
        settings.max_train_steps + 1,  # where it is 0, so that the last step still learns
        settings.lr_num_cycles,
        settings.lr_power,
    )


def sampling_of(settings: TrainSettings) -> Sampling:
    """Return how validation samples."""
    precision = precision_of(settings)
    return Sampling(settings.num_inference_steps, settings.guidance_scale, precision)
