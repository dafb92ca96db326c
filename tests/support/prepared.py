"""What a run stands on, made from settings alone."""

from training.loop.examples import Examples
from training.loop.parts import draws_of
from training.loop.prepare import open_base, open_source, prepare_data
from training.loop.trainer import Trainer


def prepare(settings, base=None):
    """Everything that a run reads, checked and encoded."""
    return prepare_data(settings, base or open_base(settings), open_source(settings))


def examples_of(settings, data):
    """The training examples of prepared data."""
    return Examples(data.train, data.prepared, draws_of(settings))


def trainer_of(settings):
    """A run before its first step."""
    base = open_base(settings)
    return Trainer(settings, base, prepare(settings, base))
