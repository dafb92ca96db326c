r"""Train the demo UNet and its text model together on cached latents.

python -m lab.make.train_base --output_dir build/base

A stopped run goes on where it was from the state in its folder. Where that is lost, `--start_from`
goes on from exported weights: the same schedule, but an optimiser that warms up again. To train the
committed base further, its autoencoder first has to be written as a folder:

python -m lab.make.export_base
python -m lab.make.latents --count 60000 --autoencoder build/base-diffusers/vae
python -m lab.make.train_base --start_from demo/weights/local_control_demo.safetensors \
    --autoencoder build/base-diffusers/vae --max_train_steps 16000
"""

import copy
import itertools
import logging
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny, DDPMScheduler
from pydantic import Field
from safetensors import safe_open
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from demo.base import (
    SCHEDULE,
    TOKEN_TABLE_KEY,
    Base,
    compact_ids,
    load_base,
    new_text_model,
    new_unet,
    save_checkpoint,
)
from training.config.commands import CommandSettings, read_settings
from training.config.processes import fast_bf16
from training.loop.optimisation import update_ema
from training.loop.state import TrainState
from training.loop.stop_signal import StopSignal
from training.models.attention import Fp32Attention

from ..origin import claim
from ..world.data import DEFAULT_FOLDER
from ..world.scenes import SceneSet
from .latents import encode, load_shards, tokenize

log = logging.getLogger(__name__)

# Scenes from here on are never cached for training: the held-out pictures of the train objects.
FIRST_HELD_OUT = 10_000_000


class BaseTrainingSettings(CommandSettings):
    """Settings of the base's training; every one is a command-line flag."""

    latents_dir: Path = Field(
        Path("build/latents"), description="what lab.make.latents has written"
    )
    data_dir: Path = Field(DEFAULT_FOLDER, description="where the pictures of objects are")
    autoencoder: Path = Field(
        Path("build/autoencoder/diffusers"), description="diffusers folder of the autoencoder"
    )
    output_dir: Path = Field(Path("build/base"), description="where everything is written")
    start_from: Path | None = Field(
        None, description="a base that ComfyUI reads, to begin with its weights"
    )
    train_batch_size: int = Field(64, description="latents a step")
    max_train_steps: int = Field(9_200, description="steps in all")
    learning_rate: float = Field(5e-4, description="at its highest")
    lr_warmup_steps: int = Field(500, description="steps in which it rises")
    lr_decay_steps: int = Field(3000, description="steps in which it falls, at the end")
    ema_decay: float = Field(0.9995, description="of the average of weights, which is what is kept")
    snr_gamma: float = Field(5.0, description="highest weight of min-SNR")
    prompt_dropout: float = Field(0.1, description="share of prompts that are empty")
    word_dropout: float = Field(0.02, description="share of words that are left out")
    mixed_precision: bool = Field(
        default_factory=fast_bf16, description="compute in bf16 (default: where the CPU has it)"
    )
    checkpointing_steps: int = Field(500, description="steps between checkpoints")
    validation_steps: int = Field(500, description="steps between validations")
    seed: int = Field(0, description="of weights, order and noise")


class Denoiser(nn.Module):
    """UNet and text model as one trainable module: noise prediction from noisy latent and rows."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.unet = new_unet()
        self.text = new_text_model(vocabulary)
        self.unet.set_attn_processor(Fp32Attention())

    def forward(self, noisy: Tensor, timestep: Tensor, rows: Tensor) -> Tensor:
        """Return the noise prediction [B,8,h,w]: noisy [B,8,h,w], timestep [B], rows [B,77]."""
        context = self.text(rows).last_hidden_state
        return self.unet(noisy, timestep, context).sample


def draw(seed: int, step: int) -> torch.Generator:
    """Return the generator of one step, whatever ran before it."""
    return torch.Generator().manual_seed(seed * 10_000_019 + step)


def epoch_order(seed: int, epoch: int, count: int) -> Tensor:
    """Return a permutation of the samples for one epoch."""
    return torch.from_numpy(np.random.default_rng((seed, epoch)).permutation(count))


def sample_indices(step: int, batch: int, count: int, seed: int) -> Tensor:
    """Return which samples a step sees: whole batches of a fresh permutation each epoch."""
    per_epoch = count // batch
    epoch, within = divmod(step, per_epoch)
    return epoch_order(seed, epoch, count)[within * batch : (within + 1) * batch]


def stratified_timesteps(batch: int, generator: torch.Generator) -> Tensor:
    """Return one timestep from each of `batch` equal slices of 0..999, in random order."""
    u = (
        torch.randperm(batch, generator=generator) + torch.rand(batch, generator=generator)
    ) / batch
    return (u * SCHEDULE["num_train_timesteps"]).long()


def drop_words(
    rows: Tensor,
    empty: Tensor,
    unknown: int,
    settings: BaseTrainingSettings,
    generator: torch.Generator,
) -> Tensor:
    """Return rows [B,77] with some prompts `empty` [77] and some single words `unknown`."""
    gone = torch.rand(rows.shape, generator=generator) < settings.word_dropout
    special = (rows == empty[0]) | (rows == empty[1])
    rows = torch.where(gone & ~special, unknown, rows)
    blank = torch.rand(len(rows), 1, generator=generator) < settings.prompt_dropout
    return torch.where(blank, empty, rows)


def learning_rate(step: int, started: int, settings: BaseTrainingSettings) -> float:
    """Return the rate of a step: warm-up from `started`, a plateau, at last a linear decay."""
    warm = min(1.0, (step + 1 - started) / settings.lr_warmup_steps)
    cool = min(1.0, (settings.max_train_steps - step) / settings.lr_decay_steps)
    return settings.learning_rate * warm * cool


class Data:
    """Cached latents at unit variance and rows of the compact token table."""

    def __init__(self, folder: Path) -> None:
        latents, tokens = load_shards(folder)
        self.scale = 1.0 / latents.float().std().item()
        self.latents = latents
        self.token_ids = tokens.unique().long()
        self.rows = compact_ids(tokens.long(), self.token_ids)
        self.empty = compact_ids(tokenize([""])[0], self.token_ids)

    @property
    def unknown(self) -> int:
        """Return the row of every token that training never sees."""
        return len(self.token_ids)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return z0 [B,8,16,16], fp32, and rows [B,77]."""
        return self.latents[indices].float() * self.scale, self.rows[indices]


def load_weights(model: Denoiser, data: Data, checkpoint: Path) -> int:
    """Return the steps of an exported checkpoint, which `model` and the scale of `data` take."""
    base = load_base(checkpoint)
    with safe_open(checkpoint, framework="pt") as file:
        steps = int(file.metadata()["steps"])
    known = set(base.token_ids.tolist())
    unseen = next(i for i in itertools.count() if i not in known)
    text = base.text.state_dict()
    rows = torch.cat([data.token_ids, torch.tensor([unseen])])
    text[TOKEN_TABLE_KEY] = text[TOKEN_TABLE_KEY][rows]
    model.text.load_state_dict(text)
    model.unet.load_state_dict(base.unet.state_dict())
    data.scale = base.latent_scale
    return steps


class Validation:
    """A fixed noise loss on scenes never trained on: same pictures, noise and timesteps."""

    def __init__(
        self, settings: BaseTrainingSettings, data: Data, alphas_cumprod: Tensor, count: int = 256
    ) -> None:
        autoencoder = AutoencoderTiny.from_pretrained(settings.autoencoder).eval()
        scenes = SceneSet(settings.data_dir, "train", settings.seed)
        chosen = [scenes.scene(FIRST_HELD_OUT + i) for i in range(count)]
        z0 = encode(autoencoder, [scene.image for scene in chosen]) * data.scale
        self.rows = compact_ids(tokenize([scene.caption for scene in chosen]), data.token_ids)
        generator = draw(settings.seed + 1, 0)
        self.noise = torch.randn(z0.shape, generator=generator)
        self.timestep = stratified_timesteps(count, generator)
        self.noisy = add_noise(z0, self.noise, alphas_cumprod[self.timestep])

    @torch.no_grad()
    def loss(self, model: nn.Module, fast: bool) -> float:
        """Return the mean squared error of the predicted noise over all timesteps."""
        errors = []
        for part in torch.arange(len(self.noisy)).split(64):
            with torch.autocast("cpu", torch.bfloat16, enabled=fast):
                predicted = model(self.noisy[part], self.timestep[part], self.rows[part])
            errors.append((predicted.float() - self.noise[part]).square().mean((1, 2, 3)))
        return torch.cat(errors).mean().item()


def add_noise(z0: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """Return z_t of each sample; alpha_bar [B]."""
    alpha_bar = alpha_bar.view(-1, 1, 1, 1)
    return alpha_bar.sqrt() * z0 + (1 - alpha_bar).sqrt() * noise


def train_step(
    model: Denoiser, data: Data, step: int, alphas_cumprod: Tensor, settings: BaseTrainingSettings
) -> tuple[Tensor, Tensor]:
    """Return the weighted loss to minimise and the plain noise loss to watch."""
    generator = draw(settings.seed, step)
    batch = settings.train_batch_size
    z0, rows = data.batch(sample_indices(step, batch, len(data.latents), settings.seed))
    rows = drop_words(rows, data.empty, data.unknown, settings, generator)
    timestep = stratified_timesteps(batch, generator)
    noise = torch.randn(z0.shape, generator=generator)
    alpha_bar = alphas_cumprod[timestep]
    with torch.autocast("cpu", torch.bfloat16, enabled=settings.mixed_precision):
        predicted = model(add_noise(z0, noise, alpha_bar), timestep, rows)
    error = (predicted.float() - noise).square().mean((1, 2, 3))
    snr = alpha_bar / (1 - alpha_bar)
    return (error * snr.clamp(max=settings.snr_gamma) / snr).mean(), error.mean()


def export(
    ema: Denoiser, data: Data, settings: BaseTrainingSettings, step: int, loss: float
) -> None:
    """Write the averaged weights as the demo checkpoint."""
    autoencoder = AutoencoderTiny.from_pretrained(settings.autoencoder)
    base = Base(ema.unet, ema.text, autoencoder, data.token_ids, data.scale)
    metadata = {
        "steps": str(step),
        "batch": str(settings.train_batch_size),
        "noise_loss": f"{loss:.5f}",
    }
    save_checkpoint(base, settings.output_dir / "local_control_demo.safetensors", metadata)


def main() -> None:
    """Train, or resume, to `max_train_steps`."""
    settings = read_settings(BaseTrainingSettings)
    claim(settings)
    logging.basicConfig(level=logging.INFO)
    torch.manual_seed(settings.seed)
    alphas_cumprod = DDPMScheduler(**SCHEDULE).alphas_cumprod
    data = Data(settings.latents_dir)
    log.info("%d latents, scale %.4f, %d words", len(data.latents), data.scale, data.unknown)
    model = Denoiser(data.unknown + 1)
    started = 0
    if settings.start_from is not None:
        started = load_weights(model, data, settings.start_from)
    ema = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=0.0, betas=(0.9, 0.99), weight_decay=0.01, fused=True
    )
    state = TrainState({"model": model, "ema": ema}, optimizer, started)
    if state.load_latest(settings.output_dir):
        log.info("resumed at step %d", state.step)
    validation = Validation(settings, data, alphas_cumprod)
    writer = SummaryWriter(settings.output_dir / "logs")
    bar = tqdm(
        range(state.step, settings.max_train_steps),
        initial=state.step,
        total=settings.max_train_steps,
        mininterval=10,
    )
    with StopSignal() as stop:
        for step in bar:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, started, settings)
            loss, noise_loss = train_step(model, data, step, alphas_cumprod, settings)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            update_ema(ema, model, step, settings.ema_decay)
            state.step = step + 1
            if state.step % 20 == 0:
                writer.add_scalar("noise_loss", noise_loss.item(), state.step)
                writer.add_scalar("gradient_norm", norm.item(), state.step)
            last = state.step == settings.max_train_steps
            if last or state.step % settings.validation_steps == 0:
                held_out = validation.loss(ema, settings.mixed_precision)
                writer.add_scalar("held_out_noise_loss", held_out, state.step)
                bar.write(
                    f"step {state.step}: noise loss {noise_loss:.4f}, held out {held_out:.4f}"
                )
                export(ema, data, settings, state.step, held_out)
            if last or stop.wanted or state.step % settings.checkpointing_steps == 0:
                state.save(settings.output_dir)
            if stop.wanted:
                break


if __name__ == "__main__":
    main()
