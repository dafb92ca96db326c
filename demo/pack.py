"""The pack as users get it: its shipped files alone, copied into a custom_nodes folder."""

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = "local_control"


def shipped_files() -> list[Path]:
    """Tracked and new files that .comfyignore does not leave out, relative to the root."""
    ignored = [
        line
        for line in (ROOT / ".comfyignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [
        Path(name)
        for name in listing.splitlines()
        if not name.startswith(tuple(ignored)) and (ROOT / name).is_file()
    ]


def install_pack(custom_nodes: Path) -> Path:
    """Copy the shipped files into `custom_nodes`, replacing what an earlier call put there."""
    target = custom_nodes / FOLDER
    shutil.rmtree(target, ignore_errors=True)
    for name in shipped_files():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)
    return target
