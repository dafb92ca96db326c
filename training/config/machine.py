"""What a run asks of this machine, said before anything is made."""

import logging
from importlib.util import find_spec

from .optimiser_flags import PACKAGES
from .processes import fast_bf16, on_cpu, refused_sharding, shares_base
from .run import TrainSettings

log = logging.getLogger(__name__)


class MachineError(ValueError):
    """A setting that this machine cannot serve; the message says what to do."""


def check_machine(settings: TrainSettings) -> None:
    """Refuse what cannot work here, and warn of what is slow.

    Raises:
        MachineError: it lacks a package or a GPU.
    """
    _check_tracker(settings.report_to)
    _check_optimizer(settings.chosen_optimizer())
    if kind := refused_sharding():
        raise MachineError(
            f"accelerate's config asks for {kind}, which shards what is trained, and here that is "
            f"the control alone, which is small; launch with --use_fsdp, which shares the base "
            f"among the GPUs, or with --multi_gpu."
        )
    if settings.torch_compile and shares_base():
        raise MachineError(
            "--torch_compile does not go with a base that processes share (FSDP); drop one of them."
        )
    if on_cpu():
        _check_precision(settings.mixed_precision)
    elif settings.deterministic and settings.z0_loss_weight and settings.edge == "laplacian":
        raise MachineError(
            "--edge laplacian has no deterministic kernel on a GPU; use another --edge, or go "
            "without --deterministic."
        )


def _check_tracker(name: str) -> None:
    if name not in ("none", "all") and find_spec(name) is None:
        raise MachineError(
            f"--report_to {name} needs a package that is not installed: pip install {name}, or use "
            f"none."
        )


def _check_optimizer(name: str) -> None:
    package = PACKAGES.get(name)
    if package is not None and find_spec(package.module) is None:
        raise MachineError(
            f"--optimizer {name} needs a package that is not installed: pip install {package.pip}, "
            f"or use adamw or adafactor."
        )


def _check_precision(name: str) -> None:
    """Mixed precision on a CPU."""
    if name == "fp16":
        raise MachineError("--mixed_precision fp16 needs a GPU, and there is none; use bf16 or no.")
    if name == "bf16" and not fast_bf16():
        log.warning(
            "This CPU has no bf16 of its own and emulates it, many times slower than fp32; stop, "
            "and go without --mixed_precision."
        )
