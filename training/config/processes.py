"""The processes of a run: one, or those that `accelerate launch` started."""

import signal
from datetime import timedelta

import torch
from accelerate import PartialState


def on_cpu() -> bool:
    """Whether there is nothing faster. Accelerate joins CPU processes only if it is told so."""
    return not torch.accelerator.is_available()


def fast_bf16() -> bool:
    """Whether this CPU computes in bf16; others emulate it, some twenty times slower than fp32."""
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def process_state() -> PartialState:
    """The current process among its peers, and its device.

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
