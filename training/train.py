"""The training loop of local adapters: only the adapter learns, the base stays as it is."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch
from diffusers import UNet2DConditionModel
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from tqdm import tqdm

from local_control.adapter import Adapter, AdapterConfig
from local_control.checkpoint import METADATA_PREFIX, AdapterFile
from local_control.losses import (
    Denoising,
    LocalControlLoss,
    Mean,
    NoiseLoss,
    Schedule,
    TimeWeight,
    Z0Loss,
)
from local_control.prediction import PredictionType

from .denoise import control_features, predict
from .state import StopSignal, TrainState

log = logging.getLogger(__name__)


class TrainConfig(BaseModel):
    """What a run is: its files follow from these settings and the code alone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    output_dir: Path
    max_train_steps: int = 2000
    train_batch_size: int = 32
    learning_rate: float = 5e-4
    lr_warmup_steps: int = 100
    mask_features: bool = True
    z0_loss_weight: float = 0.0
    z0_loss_schedule: Schedule = "alpha_bar"
    z0_loss_mean: Mean = "area"
    z0_loss_erode: int = 0
    edge: str | None = "sobel"
    timestep_sampling: Literal["uniform", "cubic"] = "uniform"
    mixed_precision: Literal["no", "bf16"] = "no"
    checkpointing_steps: int = 500
    seed: int = 0

    def loss(self) -> LocalControlLoss:
        """The objective that these settings name."""
        z0 = Z0Loss(
            self.edge,
            TimeWeight(self.z0_loss_schedule),
            mean=self.z0_loss_mean,
            erode_cells=self.z0_loss_erode,
        )
        return LocalControlLoss(NoiseLoss(), z0, z0_weight=self.z0_loss_weight)


@dataclass(frozen=True)
class Base:
    """The frozen model: alphas_cumprod [T] are its schedule."""

    unet: UNet2DConditionModel
    alphas_cumprod: Tensor
    kind: PredictionType = PredictionType.EPSILON


@dataclass(frozen=True)
class Examples:
    """z0 [B,C,h,w], text context [B,T,D], condition [B,Cin,H,W], mask [B,1,H,W]."""

    z0: Tensor
    context: Tensor
    condition: Tensor
    mask: Tensor


class Source(Protocol):
    """Where examples come from; the same step always gives the same examples."""

    def batch(self, step: int, size: int) -> Examples:
        """The examples of one step."""
        ...


def draw_timesteps(count: int, total: int, sampling: str, generator: torch.Generator) -> Tensor:
    """Timesteps [count]; cubic prefers noisy ones, as T2I-Adapter does (t = (1 - u^3) T)."""
    u = torch.rand(count, generator=generator)
    if sampling == "cubic":
        u = 1 - u**3
    return (u * total).long().clamp(max=total - 1)


def denoise(
    base: Base, adapter: Adapter, examples: Examples, config: TrainConfig, step: int
) -> Denoising:
    """Noise the examples and predict; every draw depends on (seed, step) alone."""
    generator = torch.Generator().manual_seed(config.seed * 10_000_019 + step)
    z0 = examples.z0
    total = len(base.alphas_cumprod)
    timestep = draw_timesteps(len(z0), total, config.timestep_sampling, generator).to(z0.device)
    noise = torch.randn(z0.shape, generator=generator).to(z0)
    alpha_bar = base.alphas_cumprod.to(z0.device)[timestep]
    a = alpha_bar.view(-1, 1, 1, 1)
    z_t = a.sqrt() * z0 + (1 - a).sqrt() * noise
    mask = examples.mask if config.mask_features else None
    amp = torch.autocast(z0.device.type, torch.bfloat16, enabled=config.mixed_precision == "bf16")
    with amp:
        features = control_features(adapter, examples.condition, mask)
        output = predict(base.unet, z_t, timestep, examples.context, features)
    velocity = a.sqrt() * noise - (1 - a).sqrt() * z0
    target = velocity if base.kind is PredictionType.V else noise
    return Denoising(output, target, z_t, z0, alpha_bar, timestep, examples.mask, base.kind)


def learning_rate(step: int, config: TrainConfig) -> float:
    """Warm-up, then a cosine to a tenth."""
    warm = min(1.0, (step + 1) / config.lr_warmup_steps)
    cosine = 0.55 + 0.45 * math.cos(math.pi * step / config.max_train_steps)
    return config.learning_rate * warm * cosine


def train(
    base: Base,
    source: Source,
    shape: AdapterConfig,
    config: TrainConfig,
    on_checkpoint: Callable[[Adapter, int], None] | None = None,
) -> Adapter:
    """Train, or resume, an adapter to `max_train_steps`."""
    torch.manual_seed(config.seed)
    adapter = Adapter(shape)
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=0.0, weight_decay=1e-2, fused=True)
    state = TrainState({"adapter": adapter}, optimizer)
    if state.load_latest(config.output_dir):
        log.info("resumed %s at step %d", config.output_dir, state.step)
    loss_function = config.loss()
    progress = tqdm(
        range(state.step, config.max_train_steps),
        initial=state.step,
        total=config.max_train_steps,
        desc=config.output_dir.name,
        mininterval=5,
    )
    with StopSignal() as stop:
        for step in progress:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, config)
            examples = source.batch(step, config.train_batch_size)
            terms = loss_function.terms(denoise(base, adapter, examples, config, step))
            torch.stack([term.mean() for term in terms.values()]).sum().backward()
            torch.nn.utils.clip_grad_norm_(adapter.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            state.step = step + 1
            if state.step % 50 == 0:
                progress.set_postfix({k: f"{v.mean().item():.4f}" for k, v in terms.items()})
            last = state.step == config.max_train_steps
            if last or stop.wanted or state.step % config.checkpointing_steps == 0:
                state.save(config.output_dir)
                if on_checkpoint is not None:
                    on_checkpoint(adapter, state.step)
            if stop.wanted and not last:
                raise SystemExit(
                    f"stopped at step {state.step}; the same command goes on from there"
                )
    return adapter


def to_file(adapter: Adapter, config: TrainConfig, **about: str) -> AdapterFile:
    """The adapter with what a reader wants to know of its training."""
    method = "masked features" if config.mask_features else "features never masked"
    if config.z0_loss_weight:
        name = config.edge or "plain"
        method += (
            f", {name} z0 loss (weight {config.z0_loss_weight:g}, {config.z0_loss_schedule}, "
            f"mean over {config.z0_loss_mean})"
        )
    facts = {
        **about,
        "method": method,
        "steps": str(config.max_train_steps),
        "batch": str(config.train_batch_size),
        "learning_rate": f"{config.learning_rate:g}",
        "seed": str(config.seed),
        "paper": "arXiv 2602.01991",
    }
    metadata = {METADATA_PREFIX + key: value for key, value in facts.items()}
    return AdapterFile(adapter.config, adapter.state_dict(), metadata)
