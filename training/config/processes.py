"""The processes of a run: one, or those that `accelerate launch` started."""

import os
import signal
from datetime import timedelta

import torch
from accelerate import PartialState


def on_cpu() -> bool:
    """Return whether there is no accelerator; accelerate joins CPU processes only if told so."""
    return not torch.accelerator.is_available()


def fast_bf16() -> bool:
    """Return whether this CPU has bf16; others emulate it, some twenty times slower than fp32."""
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


# What accelerate's launcher sets for the ways to shard that its config knows.
FSDP = "ACCELERATE_USE_FSDP"
_REFUSED = {
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
}


def shares_base() -> bool:
    """Return whether the config of accelerate's launcher asks for FSDP, among several processes."""
    return os.environ.get(FSDP) == "true" and process_state().num_processes > 1


def refused_sharding() -> str | None:
    """Return what else the launcher's config shards models by, or None."""
    asked = (kind for name, kind in _REFUSED.items() if os.environ.get(name) == "true")
    return next(asked, None)


def launched_precision() -> str:
    """Return the mixed precision of accelerate's own config, or "no"."""
    return os.environ.get("ACCELERATE_MIXED_PRECISION", "no")


def process_state() -> PartialState:
    """Return the current process among its peers, with its device.

    They wait for each other as long as it takes: a check of millions of pictures takes hours.
    """
    return PartialState(cpu=on_cpu(), timeout=timedelta(days=30))


def end_as_by_hand() -> None:
    """Make SIGTERM, by which schedulers end a job, what Ctrl+C is."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def ignore_signals(_worker: int) -> None:
    """Leave SIGTERM and Ctrl+C, which reach the whole process group, to the process that saves.

    Workers end with it: they watch whether it lives.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
