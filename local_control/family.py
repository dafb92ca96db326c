"""The family of models that an adapter is for, as its file tells or its shape lets assume."""

from collections.abc import Mapping

from .adapter import AdapterConfig

# Beginnings of what the field writes into files, modelspec's names and those of kohya's scripts.
_TOLD = {
    "stable-diffusion-v1": "SD1.5",
    "stable-diffusion-v2": "SD2",
    "stable-diffusion-xl": "SDXL",
    "sd_v1": "SD1.5",
    "sd_v2": "SD2",
    "sdxl": "SDXL",
}
_KEYS = ("modelspec.architecture", "ss_base_model_version")
_WIDTH = 320


def told_family(config: AdapterConfig, metadata: Mapping[str, str]) -> str | None:
    """Return the family that a file's metadata tells, or None if nothing that its shape allows."""
    if config.channels[0] != _WIDTH:
        return None
    possible = ("SDXL",) if config.kind == "xl" else ("SD1.5", "SD2")
    told = [metadata.get(key, "").lower() for key in _KEYS]
    return next(
        (
            family
            for text in told
            for start, family in _TOLD.items()
            if text.startswith(start) and family in possible
        ),
        None,
    )


def family_name(config: AdapterConfig, metadata: Mapping[str, str] | None = None) -> str:
    """Return 'SD1.5', 'SD2', 'SDXL', or the width of a family that is none of them.

    SD1.5 and SD2 have the same channels, so without metadata SD1.5 is assumed: adapters for SD2
    are rare.
    """
    told = told_family(config, metadata or {})
    if told:
        return told
    if config.kind == "xl":
        return "SDXL"
    return "SD1.5" if config.channels[0] == _WIDTH else f"width {config.channels[0]}"
