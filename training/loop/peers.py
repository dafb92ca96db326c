"""The processes of a run, which ask each other before they act as one."""

from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, distributed


class Peers:
    """A process among the others of a run; alone, it asks nobody."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        many = accelerator.num_processes > 1
        # A group on CPUs, so that a question makes no GPU wait.
        self._hosts: Any = distributed.new_group(backend="gloo") if many else None

    def mean(self, value: Tensor) -> float:
        """Return the mean of a scalar over all processes."""
        found = self._accelerator.reduce(value, "mean")
        return float(found)  # pyright: ignore[reportArgumentType]

    def any(self, flag: bool) -> bool:
        """Return whether any process raises the flag."""
        if self._hosts is None:
            return flag
        raised = torch.tensor(flag, dtype=torch.uint8)
        distributed.all_reduce(raised, distributed.ReduceOp.MAX, group=self._hosts)
        return bool(raised)
