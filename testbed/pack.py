"""The pack as users get it: its shipped files alone, copied into a custom_nodes folder.

python -m testbed.pack ComfyUI/custom_nodes
"""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = "local_control"


def shipped_files() -> Iterator[Path]:
    """Yield what .comfyignore does not leave out, relative to the root; needs no git."""
    lines = (ROOT / ".comfyignore").read_text().splitlines()
    ignored = tuple(line for line in lines if line and not line.startswith("#"))
    for top in ROOT.iterdir():
        if top.name.startswith(".") or f"{top.name}/".startswith(ignored):
            continue
        for path in [top] if top.is_file() else top.rglob("*"):
            name = path.relative_to(ROOT)
            if path.is_file() and not (
                name.as_posix().startswith(ignored) or "__pycache__" in name.parts
            ):
                yield name


def install_pack(custom_nodes: Path) -> Path:
    """Return the pack's folder in `custom_nodes`, put there anew."""
    target = custom_nodes / FOLDER
    shutil.rmtree(target, ignore_errors=True)
    for name in shipped_files():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)
    return target


if __name__ == "__main__":
    install_pack(Path(sys.argv[1]))
