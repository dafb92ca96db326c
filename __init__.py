"""Local Control for ComfyUI: one region of an image follows a condition, the prompt the rest."""

import importlib
import logging
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> Any:
    """Return our nodes, for ComfyUI to load; nothing of ComfyUI is imported before.

    Raises:
        ImportError: there is no OpenCV, and none could be installed.
    """
    if find_spec("cv2") is None:  # no other pack has brought one, and nobody has run install.py
        log.warning("Local Control needs OpenCV, which is not installed: running its install.py.")
        subprocess.run([sys.executable, Path(__file__).with_name("install.py")], check=False)
        importlib.invalidate_caches()
    if find_spec("cv2") is None:
        raise ImportError(
            "Local Control needs OpenCV, and its install.py could not install one; run that with "
            "the Python of ComfyUI, see what it says, and start ComfyUI again."
        )
    from .nodes import LocalControlExtension

    return LocalControlExtension()
