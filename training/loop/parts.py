"""The parts of a run as its settings name them.

`prepare` and the trainer take them apart by these; `resume` compares them whole. What else is in
the loop takes values.
"""

import torch
from accelerate import Accelerator
from torch import nn

from ..cached.prepared import Making
from ..config.command_line import command_line, is_path
from ..config.run import TrainSettings
from ..models.bases import Base
from ..models.controls import Control
from ..models.new_control import new_adapter, new_controlnet
from ..models.sample import Sampling
from .examples import Division, Draws
from .machinery import Kernels, new_accelerator
from .model_card import Recipe
from .optimisation import LearningRate, Stepping
from .prompted import Prompted, read_prompted
from .publish import Repository

# By the names of --mixed_precision.
DTYPES = {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def precision_of(settings: TrainSettings) -> torch.dtype | None:
    """Return the dtype of mixed precision, or None."""
    return DTYPES[settings.mixed_precision]


def accelerator_of(settings: TrainSettings) -> Accelerator:
    """Return accelerate's object for a run, its trackers begun."""
    tracker = None if settings.report_to == "none" else settings.report_to
    accelerator = new_accelerator(
        settings.mixed_precision,
        settings.gradient_accumulation_steps,
        tracker,
        settings.logging_dir or settings.output_dir / "logs",
    )
    if tracker is not None:
        flat = {key: str(value) for key, value in settings.resolved().items()}
        accelerator.init_trackers(settings.tracker_project_name, flat)
    return accelerator


def kernels_of(settings: TrainSettings, shared: bool) -> Kernels:
    """Return how the base computes; shared: among processes, whose shares are contiguous."""
    return Kernels(
        settings.gradient_checkpointing,
        settings.channels_last and not shared,
        settings.torch_compile,
        settings.allow_tf32,
        settings.deterministic,
    )


def repository_of(settings: TrainSettings) -> Repository:
    """Return where a run is pushed to; without a name of its own it is called as its folder."""
    name, token = settings.hub_model_id, settings.hub_token
    return Repository(
        name or settings.output_dir.resolve().name,
        settings.hub_private_repo,
        None if token is None else token.get_secret_value(),
    )


def recipe_of(settings: TrainSettings) -> Recipe:
    """Return what the model card tells of the settings of a run."""
    name = settings.dataset_name
    return Recipe(
        title=settings.output_dir.name,
        control=settings.control,
        base=settings.pretrained_model_name_or_path,
        dataset=name or settings.shards_url or str(settings.train_data_dir),
        on_hub=name is not None and not is_path(name),
        license=settings.license,
        command=command_line(TrainSettings, settings.resolved(), "training.train"),
    )


def prompted_of(settings: TrainSettings) -> tuple[Prompted, ...]:
    """Return what validation is prompted with; DatasetError: as `read_prompted` says."""
    return read_prompted(
        settings.validation_prompt,
        settings.validation_image,
        settings.validation_mask,
        settings.resolution,
        None if settings.conditioning_image_column else settings.made_condition(),
    )


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
