"""Local Control for ComfyUI: one region of an image follows a condition, the prompt the rest."""

from typing import Any

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> Any:
    """What ComfyUI calls to learn our nodes; nothing of ComfyUI is imported before."""
    from .nodes import LocalControlExtension

    return LocalControlExtension()
