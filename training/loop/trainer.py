"""The training itself: steps, validations, checkpoints, from wherever a run is."""

import copy
import logging
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from local_control.control_file import ControlFile

from ..config.metadata import metadata_of
from ..config.processes import process_state, shares_base
from ..config.run import TrainSettings
from ..data.files import remove_left
from ..models.bases import Base
from ..models.batch import Batch
from ..models.controls import Control
from ..models.denoise import denoise_at, drawn_alpha_bar, timesteps
from .control_files import to_file, write_file
from .examples import Examples, Places, loader
from .learning import Learning
from .means import Means
from .model_card import Made, newest_sheets, write_model_card
from .optimisation import update_ema
from .parts import (
    accelerator_of,
    control_of,
    division_of,
    draws_of,
    kernels_of,
    learning_rate_of,
    optimizer_of,
    precision_of,
    recipe_of,
    repository_of,
    sampling_of,
)
from .peers import Peers
from .plan import EpochPlan
from .resume import Identity, resume
from .run_data import Data
from .state import TrainState
from .stop_signal import StopSignal
from .trackers import log_sheet
from .validation import SHEETS, Shown, Validated, Validation

log = logging.getLogger(__name__)

_LOG_STEPS = 20
_NORM = "gradient_norm"


class Trainer:
    """One run: what it trains, on what, and where it writes."""

    def __init__(self, settings: TrainSettings, base: Base, data: Data) -> None:
        process = process_state()
        rank, world = process.process_index, process.num_processes
        self._division = division_of(settings, rank, world)
        self._plan = EpochPlan(data.train.buckets, self._division.whole, settings.seed)
        settings = settings.settled(world, self._plan.steps_per_epoch)
        self.settings = settings
        self.base = base
        self.data = data
        self.accelerator = accelerator_of(settings)
        self.dtype = precision_of(settings)
        device = self.accelerator.device
        identity = Identity.of(data, base, world)
        if settings.z0_loss_weight or settings.decoded_loss_weight or settings.snr_gamma == 0:
            base.check_z0()
        self.control = control_of(settings, base)
        self._shared = shares_base()
        base.place(device, self.dtype, self._shared)
        kernels_of(settings, self._shared).choose(base.pipeline.unet)
        network = self.control.network.to(device)
        if settings.gradient_checkpointing:
            self.control.save_memory()
        self.ema = copy.deepcopy(network).requires_grad_(False) if settings.use_ema else None
        self.optimizer = optimizer_of(settings, network)
        modules = {self.control.name: network} | ({"ema": self.ema} if self.ema else {})
        self.state = TrainState(modules, self.optimizer)
        resume(self.state, settings, identity)
        self.state.notes |= identity.notes(settings)
        wrapped, self.stepper = self.accelerator.prepare(network, self.optimizer)
        self.wrapped = self.control.around(wrapped)
        if self.accelerator.scaler is not None and "scaler" in self.state.notes:
            self.accelerator.scaler.load_state_dict(self.state.notes["scaler"])
        self._means = Means()
        self._learning = Learning(network, self.control.name, fresh=not self.state.step)
        drawn = drawn_alpha_bar(base, settings.timestep_sampling)
        self.objective = settings.loss(drawn, self._decode)
        self.validation = self._new_validation()
        self.examples = Examples(data.train, data.prepared, draws_of(settings))
        self._peers = Peers(self.accelerator)

    def _decode(self, latents: Tensor) -> Tensor:
        # It was lent to a validation perhaps, and is on the CPU after that.
        self.base.pipeline.vae.to(latents.device)
        return self.base.decode_with_gradient(latents)

    def _new_validation(self) -> Validation:
        settings, data = self.settings, self.data
        shown = Shown(
            settings.masks().shown(),
            settings.masked_condition_share,
            settings.mask_features,
            settings.made_condition(),
        )
        return Validation(
            self.base,
            data.held_out,
            data.prepared,
            shown,
            self.objective,
            settings.validation_timesteps,
            settings.num_validation_images,
            sampling_of(settings),
            data.prompted,
        )

    def batches(self) -> Iterator[Batch]:
        """Yield this process's micro-batches from the run's step on."""
        steps = range(self.state.step, self.settings.max_train_steps)
        places = Places(self._plan, self._division, steps)
        return iter(loader(self.examples, places, self.settings.dataloader_num_workers))

    @property
    def result(self) -> Control:
        """Return what is validated and written: the average of weights, if there is one."""
        return self.control if self.ema is None else self.control.around(self.ema)

    def run(self) -> Path:
        """Return the control's file, trained to `max_train_steps`.

        Raises:
            SystemExit: it was stopped, and saved; the message says how to go on.
            StateError: a checkpoint cannot be written, or the run has diverged.
        """
        settings, state = self.settings, self.state
        main = self.accelerator.is_main_process
        if main:
            settings.write()
            remove_left(settings.output_dir, after=0)
        batches = self.batches()
        rate = learning_rate_of(settings).by_step()
        progress = tqdm(
            range(state.step, settings.max_train_steps),
            initial=state.step,
            total=settings.max_train_steps,
            desc=settings.output_dir.name,
            disable=not main,
            mininterval=2,
        )
        if state.step == 0:  # so that a validation that cannot work ends the run at once
            self._validate(progress)
        with StopSignal() as stop:
            for step in progress:
                for group in self.optimizer.param_groups:
                    group["lr"] = rate(step)
                self._means.add(self.step(batches, step))
                state.step = step + 1
                if state.step % _LOG_STEPS == 0:
                    self._report(rate(step), progress)
                stopped = self._peers.any(stop.wanted)
                last = state.step == settings.max_train_steps
                if last or state.step % settings.validation_steps == 0:
                    self._validate(progress)
                if last or stopped or state.step % settings.checkpointing_steps == 0:
                    self._save()
                if stopped and not last:
                    raise SystemExit(
                        f"stopped at step {state.step}; go on with --resume_from_checkpoint latest"
                    )
        files = self._write() if main else []
        self.accelerator.end_training()
        if settings.push_to_hub and main:
            message = f"Step {settings.max_train_steps}"
            repository_of(settings).push(settings.output_dir, files, message)
        return settings.output_dir / f"{self.control.name}.safetensors"

    def _write(self) -> list[Path]:
        """Write the control and its model card -> all that a repository on the hub is to have."""
        settings, notes = self.settings, self.state.notes
        folder = settings.output_dir
        path = folder / f"{self.control.name}.safetensors"
        file = self._file(settings.max_train_steps)
        write_file(file, path)
        made = Made(
            file.metadata,
            len(self.data.train.data),
            len(self.data.held_out.data),
            {"lowest held-out loss": notes["best"]} if "best" in notes else {},
            newest_sheets(folder / "samples"),
        )
        card = write_model_card(recipe_of(settings), made, folder)
        return [card, path, *folder.glob("best.safetensors"), *made.sheets]

    def _file(self, step: int) -> ControlFile:
        return to_file(self.result, self.base, metadata_of(self.settings), step)

    def step(self, batches: Iterator[Batch], step: int) -> dict[str, Tensor]:
        """Return the mean of each term over one optimiser step, and the norm of its gradient."""
        settings, parts = self.settings, self.settings.gradient_accumulation_steps
        sums: dict[str, Tensor] = {}
        for part in range(parts):
            batch = next(batches).to(self.accelerator.device)
            wait = part < parts - 1
            with self.accelerator.no_sync(self.wrapped.network) if wait else nullcontext():
                t = timesteps(batch.u, len(self.base.alphas_cumprod), settings.timestep_sampling)
                gated, free = settings.mask_features, self.objective.needs_free
                found = denoise_at(self.base, self.wrapped, batch, t, gated, self.dtype, free)
                terms = {k: v.mean() for k, v in self.objective.terms(found).items()}
                self.accelerator.backward(torch.stack(list(terms.values())).sum())
            for name, value in terms.items():
                sums[name] = sums.get(name, torch.zeros_like(value)) + value.detach() / parts
        limit = settings.max_grad_norm
        network = self.control.network
        norm: Any = self.accelerator.clip_grad_norm_(network.parameters(), limit)
        self.stepper.step()
        self.stepper.zero_grad()
        if self.ema is not None:
            update_ema(self.ema, network, step, settings.ema_decay)
        return sums | {_NORM: norm.detach()}

    def _report(self, learning_rate: float, progress: tqdm) -> None:
        means = {name: self._peers.mean(value) for name, value in self._means.take().items()}
        rate = progress.format_dict["rate"]
        speed = {} if rate is None else {"images/s": rate * self._division.whole}
        logged = means | {"learning_rate": learning_rate} | speed
        self.accelerator.log({f"train/{k}": v for k, v in logged.items()}, self.state.step)
        told = {name: f"{value:.1f}" for name, value in speed.items()}
        progress.set_postfix(told | {k: f"{v:.4f}" for k, v in means.items()})
        self._learning.see(means[_NORM], self.state.step)

    def _validate(self, progress: tqdm) -> None:
        main = self.accelerator.is_main_process
        if main or self._shared:  # a shared base takes all processes to predict
            found = self.validation.run(self.result)
            if main:
                self._note(found, progress)
        self.accelerator.wait_for_everyone()

    def _note(self, found: Validated, progress: tqdm) -> None:
        """Tell, log and write what a validation found, and the control if it is the best yet."""
        folder, step, loss = self.settings.output_dir, self.state.step, found.losses["loss"]
        told = "".join(f", {key} {value:.3f}" for key, value in found.measured.items())
        progress.write(f"step {step}: held-out loss {loss:.5f}{told}")
        for shown, picture in found.sheets.items():
            path = folder / "samples" / f"{SHEETS[shown]}-{step:08d}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(picture).save(path)
            log_sheet(self.accelerator.trackers, shown, picture, step)
        logged = found.losses | found.measured
        self.accelerator.log({f"validation/{k}": v for k, v in logged.items()}, step)
        # Losses at other timesteps are no measure of these.
        at, notes = list(self.settings.validation_timesteps), self.state.notes
        best = notes.get("best", float("inf"))
        better = notes.get("best_timesteps", at) != at or loss < best
        if step and better:  # before the first one nothing has been learnt
            notes |= {"best": loss, "best_timesteps": at}
            write_file(self._file(step), folder / "best.safetensors")

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            if self.accelerator.scaler is not None:
                self.state.notes["scaler"] = self.accelerator.scaler.state_dict()
            # So that what is exported from a state tells as much as the file of the end.
            self.state.notes["metadata"] = self._file(self.state.step).metadata
            self.state.save(self.settings.output_dir, self.settings.checkpoints_total_limit)
        self.accelerator.wait_for_everyone()
