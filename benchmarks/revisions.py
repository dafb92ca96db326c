"""Earlier revisions, unpacked so that they run beside the working tree."""

import io
import subprocess
import tarfile
from pathlib import Path

from testbed.comfyui import BUILD, ROOT


def extract(revision: str) -> Path:
    """Return the folder that a revision is unpacked into."""
    name = ["git", "rev-parse", "--short", f"{revision}^{{commit}}"]
    found = subprocess.run(name, cwd=ROOT, check=True, capture_output=True, text=True)
    folder = BUILD / "same" / found.stdout.strip()
    if not folder.is_dir():
        archive = ["git", "archive", "--format=tar", revision]
        packed = subprocess.run(archive, cwd=ROOT, check=True, capture_output=True).stdout
        with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
            tar.extractall(folder, filter="data")
    return folder
