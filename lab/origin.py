"""What a folder of the laboratory was made from, so that a stale one is refused by name."""

import json
from pathlib import Path

from training.config.commands import CommandSettings
from training.data.digests import digest

from .world.vocabulary import VOCABULARY

_NAME = ".made-from.json"
# Settings that change nothing of what is made.
_APART = {"output_dir", "checkpointing_steps", "validation_steps"}
_ADVICE = "delete it to have it made anew"


class OriginError(ValueError):
    """A folder that was made from something else; the message says what differs."""


def claim(settings: CommandSettings, *apart: str) -> None:
    """Note that what comes into their `output_dir` is made with these settings, or see that it was.

    Files and folders count by their contents, not by their paths, pictures of objects with the
    words for them; settings `apart` do not count.

    Raises:
        OriginError: it was made with others, or holds files of which nothing is known.
        FileNotFoundError: there is not what it is made from.
    """
    told = settings.model_dump(mode="json")
    folder = Path(told["output_dir"])
    now = {
        name: contents(path) if isinstance(path := getattr(settings, name), Path) else value
        for name, value in told.items()
        if name not in _APART.union(apart)
    }
    if "data_dir" in now:
        now["data_dir"] = digest(now["data_dir"], contents(VOCABULARY))
    note = folder / _NAME
    if note.exists():
        before = json.loads(note.read_text())
        differing = [
            f"{name} was {before.get(name)} and is {now.get(name)}"
            for name in sorted(before.keys() | now.keys())
            if before.get(name) != now.get(name)
        ]
        if differing:
            raise OriginError(f"{folder} is of something else ({'; '.join(differing)}); {_ADVICE}.")
        return
    if folder.exists() and any(folder.iterdir()):
        raise OriginError(f"{folder} does not say what its files were made from; {_ADVICE}.")
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(now, indent=1) + "\n")


def contents(path: Path) -> str:
    """Return a digest of a file, or of all files of a folder with their names.

    Raises:
        FileNotFoundError: there is neither.
    """
    if not path.exists():
        raise FileNotFoundError(f"There is no {path}, which this is made from.")
    if path.is_file():
        return digest(path.read_bytes())
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return digest(*((str(file.relative_to(path)), digest(file.read_bytes())) for file in files))
