"""Whether a run learns at all: gradients reach the weights, and the weights move."""

import logging

from torch import nn

from ..models.weights import weights_digest

log = logging.getLogger(__name__)

_ENOUGH_STEPS = 100


class Learning:
    """A watch on the weights of a network, which warns once if they do not learn.

    name: of the network, in messages. fresh: whether training begins now; the weights of a run that
    goes on have moved before.
    """

    def __init__(self, network: nn.Module, name: str, fresh: bool) -> None:
        self._network = network
        self._name = name
        self._start = weights_digest(network) if fresh else None
        self._reached = False
        self._told = False

    def see(self, gradient_norm: float, step: int) -> None:
        """Note the mean norm of gradients up to a step, and warn if there were enough of them."""
        self._reached |= gradient_norm > 0
        if self._told or step < _ENOUGH_STEPS:
            return
        self._told = True
        if not self._reached:
            log.warning(
                "In %d steps no gradient has reached the %s, so its weights do not learn; see "
                "whether all masks are empty.",
                *(step, self._name),
            )
        elif self._start == weights_digest(self._network):
            log.warning(
                "In %d steps the %s's weights have not moved, though there are gradients; see "
                "whether --learning_rate is too small, or go without --mixed_precision fp16.",
                *(step, self._name),
            )
