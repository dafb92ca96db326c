"""Whether two runs are the same: which settings the weights depend on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

# What no weight depends on. Everything else does, if only by the rounding of another kernel.
_WITHOUT_EFFECT = frozenset(
    {
        "config",
        "output_dir",
        "cache_dir",
        "allow_outside_paths",  # the pictures themselves are compared
        "gradient_checkpointing",  # computes the same again
        "dataloader_num_workers",
        "checkpointing_steps",
        "checkpoints_total_limit",
        "resume_from_checkpoint",
        "validation_steps",
        "validation_timesteps",
        "num_validation_images",
        "num_inference_steps",
        "guidance_scale",
        "report_to",
        "tracker_project_name",
        "logging_dir",
        "push_to_hub",
        "hub_model_id",
        "hub_private_repo",
        "license",
        "validation_prompt",
        "validation_image",
        "validation_mask",
    }
)
# Files and folders may have moved; their names must stay.
PLACES = frozenset(
    {
        "pretrained_model_name_or_path",
        "base_config",
        "pretrained_vae_model_name_or_path",
        "adapter_model_name_or_path",
        "controlnet_model_name_or_path",
        "train_data_dir",
        "shards_url",
        "coco_instances",
        "coco_captions",
        "validation_image",
        "validation_mask",
    }
)
# Together with the processes they make up the global batch, which alone matters.
_BATCH = frozenset({"train_batch_size", "gradient_accumulation_steps"})
_LENGTH = frozenset({"max_train_steps", "num_train_epochs"})


def defaults(kind: type[BaseModel]) -> dict[str, Any]:
    """Return the default of every field as JSON can hold it; None where there is none."""
    return {
        name: None
        if field.is_required()
        else to_jsonable_python(field.get_default(call_default_factory=True))
        for name, field in kind.model_fields.items()
    }


def differing(
    now: Mapping[str, Any], before: Mapping[str, Any], processes: int = 1, processes_before: int = 1
) -> list[str]:
    """Return the names of the settings that make the weights of a run others than `before`.

    before: a value for every setting that there is; None and nothing are the same. Another global
    batch is called train_batch_size, and more steps than before are a run that goes on if its
    learning rate is constant.
    """
    found = [
        name
        for name in before.keys() - _WITHOUT_EFFECT - _BATCH - _LENGTH
        if not _same(name, now.get(name), before[name])
    ]
    if not _goes_on(now, before):
        found.append("max_train_steps")
    if global_batch(now, processes) != global_batch(before, processes_before):
        found.append("train_batch_size")
    return sorted(found)


def _goes_on(now: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether steps before the end are the same for both ends; most learning rates know the end.

    Epochs are no steps until the data is known, and then there are none.
    """
    if now.get("num_train_epochs") is not None:
        return True
    if now["lr_scheduler"].startswith("constant"):
        return now["max_train_steps"] >= before["max_train_steps"]
    return now["max_train_steps"] == before["max_train_steps"]


def global_batch(settings: Mapping[str, Any], processes: int) -> int:
    """Return how many pictures one step of the optimiser sees."""
    return settings["train_batch_size"] * settings["gradient_accumulation_steps"] * processes


def _same(name: str, now: Any, before: Any) -> bool:
    if name in PLACES and now is not None and before is not None:
        return Path(now).name == Path(before).name
    return json.dumps(now) == json.dumps(before)  # the order of mask_shares decides their draws
