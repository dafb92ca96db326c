"""Runs of a few seconds, and what they learnt, read from their newest state."""

import torch
from safetensors.torch import load_file

from training.config.commands import read_settings
from training.config.run import TrainSettings
from training.loop.parts import control_of
from training.loop.prepare import open_base, open_source
from training.loop.state import list_states
from training.train import train


def train_to_bytes(settings):
    """Train -> the bytes of all that is learnt: fp32 weights, average, moments."""
    train(settings, open_base(settings), open_source(settings))
    # Tensor by tensor, since a header has no fixed order.
    saved = load_file(list_states(settings.output_dir)[-1])
    return b"".join(key.encode() + saved[key].numpy().tobytes() for key in sorted(saved))


def learnt(folder, module="adapter"):
    """The fp32 weights of a module in one vector."""
    saved = load_file(list_states(folder)[-1])
    prefix = f"module.{module}."
    return flat({key: value for key, value in saved.items() if key.startswith(prefix)})


def gradients(folder):
    """The optimiser's running mean of gradients in one vector."""
    saved = load_file(list_states(folder)[-1])
    return flat({key: value for key, value in saved.items() if key.endswith("exp_avg")})


def start(folder):
    """The weights before the first step of the run in `folder`."""
    settings = read_settings(TrainSettings, ["--config", str(folder / "config.toml")])
    return flat(control_of(settings, open_base(settings)).network.state_dict())


def flat(tensors):
    return torch.cat([tensors[key].float().flatten() for key in sorted(tensors)])


def assert_same_run(one, two, module="adapter", share=0.02):
    """Weights that differ by rounding alone: by a `share` of what training changed.

    Gradients too, since AdamW makes nothing of their scale.
    """
    first, second = learnt(one, module), learnt(two, module)
    assert (first - second).norm() < share * (first - start(one)).norm()
    assert (gradients(one) - gradients(two)).norm() < share * gradients(one).norm()
