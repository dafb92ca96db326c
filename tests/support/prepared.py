"""What a run stands on, made from settings alone, and what is kept of it."""

from safetensors.torch import load, load_file, save_file

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


def entries(folder):
    """The bytes of every entry of a cache, by name."""
    shards = [load_file(path) for path in folder.glob("shard-*.safetensors")]
    return {name: bytes(data.numpy()) for shard in shards for name, data in shard.items()}


def latents(folder):
    """The entries of a cache that are latents."""
    return {name for name, data in entries(folder).items() if "latent" in load(data)}


def drop(folder, names):
    """Take entries out of a cache, as if they had never been made."""
    for path in folder.glob("shard-*.safetensors"):
        left = {name: data for name, data in load_file(path).items() if name not in names}
        path.unlink()
        if left:
            save_file(left, path.with_stem(f"{path.stem}x"))


def damage(folder, name):
    """Make all entries zeros in the shard that has one, under the same size and header."""
    (path,) = [path for path in folder.glob("shard-*.safetensors") if name in load_file(path)]
    data = path.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    path.write_bytes(data[:begin].ljust(len(data), b"\0"))
