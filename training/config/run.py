"""What a training run is: one schema for TOML files and flags, named as in the diffusers examples.

A run's files follow from these settings, the data and the code alone.
"""

import logging
from collections.abc import Mapping
from itertools import permutations
from pathlib import Path
from typing import Any, ClassVar, Self

import tomli_w
from pydantic import Field, model_validator

from .base_flags import BaseFlags
from .commands import SettingsError
from .control_flags import ControlFlags
from .data_flags import DataFlags
from .hub_flags import HubFlags
from .identity import defaults, differing
from .network_flags import NetworkFlags
from .objective_flags import ObjectiveFlags
from .optimiser_flags import OptimiserFlags
from .output_flags import OutputFlags
from .processes import launched_precision

log = logging.getLogger(__name__)

PRESETS = Path(__file__).parent / "presets"


# Fields come in the order of the bases from the last to the first.
class TrainSettings(
    HubFlags,
    OutputFlags,
    OptimiserFlags,
    ObjectiveFlags,
    ControlFlags,
    DataFlags,
    NetworkFlags,
    BaseFlags,
):
    """Settings of `python -m training.train`; every one is a flag and a key of a TOML file."""

    presets: ClassVar[Path | None] = PRESETS
    alternatives = (
        *permutations(("max_train_steps", "num_train_epochs"), 2),
        *permutations(("train_data_dir", "dataset_name", "shards_url"), 2),
        ("mask_source", "mask_shares"),
        *permutations(("optimizer", "use_8bit_adam"), 2),
    )

    config: str | None = Field(None, description="a TOML file, or the name of a preset")

    @model_validator(mode="after")
    def _parts_that_fit(self) -> Self:
        if self.invert_masks and not (self.mask_column or self.coco_instances):
            raise ValueError("--invert_masks needs masks: name --mask_column.")
        if self.base_config and Path(self.pretrained_model_name_or_path).suffix != ".safetensors":
            raise ValueError("--base_config is for a base in one .safetensors file; drop it.")
        if self.control == "adapter" and self.controlnet_model_name_or_path is not None:
            raise ValueError("--controlnet_model_name_or_path needs --control controlnet.")
        if self.control == "controlnet":
            if self.adapter_model_name_or_path is not None:
                raise ValueError(
                    "--adapter_model_name_or_path is for adapters; name a ControlNet with "
                    "--controlnet_model_name_or_path."
                )
            if self.adapter_type != "auto":
                raise ValueError("--adapter_type is for --control adapter; drop it.")
        return self

    def condition_channels(self) -> int:
        """Return how many channels conditions have; pictures from a column have three."""
        return 3 if self.conditioning_image_column else self.made_condition().channels

    def resolved(self) -> dict[str, Any]:
        """Return every setting as TOML and JSON can hold it; what is not set is left out."""
        found = self.model_dump(mode="json", exclude_none=True, exclude={"config", "hub_token"})
        found |= {"optimizer": self.chosen_optimizer(), "use_8bit_adam": False}
        if found["optimizer"] != "adamw":
            found["fused"] = False  # it is AdamW's alone, and would be refused when read again
        if self.num_train_epochs is not None:
            found.pop("max_train_steps")  # it is not known yet, and would be refused as well
        return found

    def settled(self, processes: int, steps_per_epoch: int | None = None) -> Self:
        """Return the same run with all that depends on more than settings told outright.

        The learning rate is scaled, epochs are steps (where those of an epoch are known), and the
        mixed precision is that of accelerate's own config where neither flag nor file names one.

        Raises:
            SettingsError: these do not fit.
        """
        told: dict[str, Any] = {}
        launched = launched_precision()
        if "mixed_precision" not in self.model_fields_set:
            if launched not in ("no", "bf16", "fp16"):
                raise SettingsError(
                    f"accelerate's config asks for mixed precision in {launched}, which is not "
                    f"trained in here; add --mixed_precision bf16."
                )
            told["mixed_precision"] = launched
        elif launched not in ("no", self.mixed_precision):
            log.warning(
                "accelerate's config asks for mixed precision %s; --mixed_precision %s counts.",
                *(launched, self.mixed_precision),
            )
        if self.scale_lr:
            batch = self.train_batch_size * self.gradient_accumulation_steps * processes
            told |= {"learning_rate": self.learning_rate * batch, "scale_lr": False}
        if self.num_train_epochs is not None and steps_per_epoch is not None:
            steps = self.num_train_epochs * steps_per_epoch
            try:
                self.check_warmup(steps)
            except ValueError as error:
                raise SettingsError(
                    f"{self.num_train_epochs} epochs are {steps} steps. {error}"
                ) from None
            told |= {"max_train_steps": steps, "num_train_epochs": None}
        return self.model_copy(update=told)

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
        if self.fused or found["optimizer"] != "adamw":
            del found["fused"]  # it is the default, or says nothing, and another --optimizer counts
        (self.output_dir / "config.toml").write_text(tomli_w.dumps(found), encoding="utf-8")
