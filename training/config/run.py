"""What a training run is: one schema for TOML files and flags, named as in the diffusers examples.

A run's files follow from these settings, the data and the code alone.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import tomli_w
from pydantic import Field, model_validator

from .base_flags import BaseFlags
from .control_flags import ControlFlags
from .data_flags import DataFlags
from .identity import defaults, differing
from .objective_flags import ObjectiveFlags
from .optimiser_flags import OptimiserFlags
from .output_flags import OutputFlags

PRESETS = Path(__file__).parent / "presets"


# Fields come in the order of the bases from the last to the first.
class TrainSettings(
    OutputFlags, OptimiserFlags, ObjectiveFlags, ControlFlags, DataFlags, BaseFlags
):
    """Settings of `python -m training.train`; every one is a flag and a key of a TOML file."""

    presets: ClassVar[Path | None] = PRESETS

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
