"""What a run reads: its training and validation samples, and what is prepared of both."""

from dataclasses import dataclass

from ..cached.prepared import Part, Prepared
from .prompted import Prompted


@dataclass(frozen=True)
class Data:
    """What is trained on, what is held out for validation, and what is prepared of both.

    prompted: what validation samples beside what is held out.
    """

    train: Part
    held_out: Part
    prepared: Prepared
    prompted: tuple[Prompted, ...] = ()
