"""What one checkpoint file says of its noise schedule, read as ComfyUI reads it.

diffusers takes the schedule of a single file from configs that fit its structure, which cannot tell
SD2 from SD2-base or a v-prediction SDXL from the usual one.
"""

from collections.abc import Set
from pathlib import Path
from typing import Any

from safetensors import safe_open

_SD2_KEY = "cond_stage_model.model.positional_embedding"  # OpenCLIP's
_SD2_NORM = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"
_SD2_V_SPREAD = 0.09
_SDXL_KEY = "conditioner.embedders.1.model.positional_embedding"


def is_sdxl(keys: Set[str]) -> bool:
    """Return whether a checkpoint with these keys has SDXL's two text encoders."""
    return _SDXL_KEY in keys


def read_schedule(path: Path) -> dict[str, Any]:
    """Return the parts of a scheduler's config that a .safetensors checkpoint decides itself.

    The mark `v_pred`, with `ztsnr` for a zero terminal SNR, stands in fine-tuned files; an SD2 that
    predicts v is known by the spread of a norm's bias.

    Raises:
        ValueError: the schedule is EDM's.
        OSError, SafetensorError: it cannot be read.
    """
    with safe_open(path, framework="pt") as file:
        keys = set(file.keys())
        if edm := sorted(key for key in keys if key.startswith(("edm_mean", "edm_vpred"))):
            raise ValueError(f"it has {edm[0]}, and adapters are not trained on EDM schedules")
        if "v_pred" in keys:
            found: dict[str, Any] = {"prediction_type": "v_prediction"}
            if "ztsnr" in keys:
                found |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
            return found
        if {_SD2_KEY, _SD2_NORM} <= keys:
            spread = float(file.get_tensor(_SD2_NORM).float().std(unbiased=False))
            kind = "v_prediction" if spread > _SD2_V_SPREAD else "epsilon"
            return {"prediction_type": kind}
    return {}
