"""Local Control for ComfyUI: one region of an image follows a condition, the prompt the rest."""

from importlib.util import find_spec
from typing import Any

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> Any:
    """Return our nodes, for ComfyUI to load; nothing of ComfyUI is imported before.

    Raises:
        ImportError: there is no OpenCV.
    """
    if find_spec("cv2") is None:
        raise ImportError(
            "Local Control needs OpenCV, which is not installed; run install.py in its folder with "
            "the Python of ComfyUI, and start ComfyUI again."
        )
    from .nodes import LocalControlExtension

    return LocalControlExtension()
