"""Whether every file of a control, however broken, is read or refused in a sentence.

python -m benchmarks.fuzz --files 100000 --seed 0

Files of adapters in every layout and of a ControlNet are changed at random, read, and used if they
are accepted. A process of its own does it, so that crashes and hangs are counted as well. What
fails is kept in build/fuzz; `--first INDEX --files 1` makes one file again.
"""

import logging
import multiprocessing
import resource
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from pydantic import Field

from local_control.checkpoint import (
    AdapterFileError,
    to_diffusers,
    write_adapter,
)
from local_control.control_file import ControlFile, read_control, read_header
from local_control.controlnet import ControlNetFile
from testbed.comfyui import BUILD
from training.config.commands import CommandSettings, read_settings
from training.data.condition import parse_condition

from .mutations import draw_file

log = logging.getLogger(__name__)

READ, REFUSED, CRASH, HANG = "read", "refused", "crash", "hang"
_GOOD = (READ, REFUSED)
_MEMORY = 8 * 2**30  # bytes; a small file that makes a process ask for more has failed
_LONGEST_MESSAGE = 600

Judge = Callable[[int, int, Path], str]


class FuzzSettings(CommandSettings):
    """Settings of the command; every one is a command-line flag."""

    files: int = Field(100_000, ge=1, description="how many files are made")
    seed: int = Field(0, ge=0, description="of all that is random")
    first: int = Field(0, ge=0, description="number of the first file")
    limit: float = Field(10.0, gt=0, description="seconds a file may take")


def make_file(seed: int, index: int) -> tuple[bytes, list[str]]:
    """Return the bytes of one file, and the names of what was done to it."""
    return draw_file(np.random.default_rng([seed, index]))


def judge_file(seed: int, index: int, folder: Path) -> str:
    """Return 'read', 'refused', or what else the reading of one file came to."""
    content, _ = make_file(seed, index)
    path = folder / "adapter.safetensors"
    path.write_bytes(content)
    try:
        read_header(path)
        file = read_control(path)
    except AdapterFileError as error:
        message = str(error)
        if len(message) > _LONGEST_MESSAGE or not message.isprintable():
            return f"a message that is no sentence: {message[:200]!r}"
        return REFUSED
    except Exception as error:  # what this command looks for
        return f"{type(error).__name__} when read: {error}"
    try:
        path.write_bytes(b"")  # what was read has no tie to its file
        use(file, path)
    except Exception as error:
        return f"{type(error).__name__} when used: {error}"
    return READ


def use(file: ControlFile, path: Path) -> None:
    """Do with an accepted file what nodes and trainer do: compute, describe, export, write."""
    assert file.family
    if isinstance(file, ControlNetFile):
        assert file.in_channels
        file.original()  # ComfyUI or diffusers builds it, and says what does not fit
        return
    config = file.config
    side = 8 * config.unshuffle
    features = file.build().float()(torch.rand(1, config.in_channels, side, side))
    sizes = [tuple(feature.shape[1:]) for feature in features]
    expected = [
        (c, side // f, side // f) for c, f in zip(config.channels, config.factors, strict=True)
    ]
    if sizes != expected:
        raise RuntimeError(f"features of {sizes} where {expected} were expected")
    condition = parse_condition(file.metadata.get("local_control.condition", ""))
    if condition is not None:
        condition(torch.rand(1, 3, 64, 64))
    for export in (lambda: to_diffusers(file), lambda: write_adapter(file, path)):
        try:
            export()
        except AdapterFileError:  # fp16 and diffusers do not have room for all that fp32 has
            continue


def judge_all(
    settings: FuzzSettings, folder: Path, judge: Judge = judge_file
) -> Iterator[tuple[int, str]]:
    """Yield every file's number and what it came to; a crash or hang costs a new process each."""
    context = multiprocessing.get_context("spawn")
    index, end = settings.first, settings.first + settings.files
    while index < end:
        receiver, sender = context.Pipe(duplex=False)
        arguments = (judge, settings.seed, index, end, folder, sender)
        process = context.Process(target=_work, args=arguments)
        process.start()
        sender.close()
        try:
            receiver.recv()  # ready
            while index < end:
                outcome = receiver.recv() if receiver.poll(settings.limit) else HANG
                yield index, outcome
                index += 1
                if outcome == HANG:
                    break
        except EOFError:
            yield index, CRASH
            index += 1
        finally:
            process.kill()
            process.join()


def _work(judge: Judge, seed: int, first: int, end: int, folder: Path, sender: Connection) -> None:
    """Judge files one after another, as a process of its own."""
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    torch.set_num_threads(1)
    sender.send(None)
    for index in range(first, end):
        sender.send(judge(seed, index, folder))


def main() -> None:
    """Count what files come to; the exit status tells whether any failed."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = read_settings(FuzzSettings)
    folder = BUILD / "fuzz"
    folder.mkdir(parents=True, exist_ok=True)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        for index, outcome in judge_all(settings, Path(scratch)):
            kind = outcome if outcome in (*_GOOD, CRASH, HANG) else "other"
            counts[kind] += 1
            if kind not in _GOOD:
                content, ways = make_file(settings.seed, index)
                (folder / f"{settings.seed}-{index}.safetensors").write_bytes(content)
                log.info("%d (%s): %s", index, ", ".join(ways), outcome)
    for kind in (READ, REFUSED, CRASH, HANG, "other"):
        log.info("%-8s %d", kind, counts[kind])
    raise SystemExit(sum(counts[kind] for kind in _GOOD) < settings.files)


if __name__ == "__main__":
    main()
