"""Registers the demo base with ComfyUI, so that stock nodes load, prompt and sample it."""

import comfy.latent_formats
import comfy.sd1_clip
import comfy.supported_models
import comfy.supported_models_base
import torch
from torch import Tensor

_TOKEN_IDS = "cond_stage_model.token_ids"
_TOKEN_TABLE = "clip_l.transformer.text_model.embeddings.token_embedding.weight"
_VOCABULARY = 49408
_TEXT_CONFIG = {
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "hidden_size": 128,
    "intermediate_size": 512,
    "hidden_act": "quick_gelu",
    "max_position_embeddings": 77,
    "eos_token_id": 49407,
    "vocab_size": _VOCABULARY,
}


class DemoLatentFormat(comfy.latent_formats.LatentFormat):
    """Eight channels of unit variance; the colours are a linear fit on training scenes."""

    latent_channels = 8
    latent_rgb_factors = [  # noqa: RUF012 - ComfyUI's own form
        [0.0609, 0.1567, -0.0391],
        [-0.0860, 0.2001, 0.2323],
        [-0.3337, -0.0571, -0.0015],
        [-0.0559, 0.0351, -0.2531],
        [-0.0076, 0.0743, -0.0858],
        [0.0076, 0.0250, -0.0299],
        [-0.0087, 0.0717, -0.0045],
        [-0.0971, 0.1695, -0.0655],
    ]
    latent_rgb_factors_bias = [0.1445, -0.1613, -0.2688]  # noqa: RUF012


class DemoTextModel(comfy.sd1_clip.SDClipModel):
    """The stock CLIP text model at the demo's width."""

    def __init__(
        self,
        device: str = "cpu",
        dtype: torch.dtype | None = None,
        model_options: dict | None = None,
    ) -> None:
        super().__init__(
            device=device,
            dtype=dtype,
            textmodel_json_config=_TEXT_CONFIG,
            return_projected_pooled=False,
            model_options=model_options or {},
        )


class DemoClip(comfy.sd1_clip.SD1ClipModel):
    """What CLIPTextEncode talks to."""

    def __init__(
        self,
        device: str = "cpu",
        dtype: torch.dtype | None = None,
        model_options: dict | None = None,
    ) -> None:
        super().__init__(
            device=device,
            dtype=dtype,
            model_options=model_options or {},
            clip_model=DemoTextModel,
        )


class LocalControlDemo(comfy.supported_models.SD15):
    """SD1.5's structure at a fifth of its width."""

    unet_config = {  # noqa: RUF012 - ComfyUI's own form
        "context_dim": 128,
        "model_channels": 64,
        "in_channels": 8,
        "use_linear_in_transformer": False,
        "adm_in_channels": None,
        "use_temporal_attention": False,
    }
    unet_extra_config = {"num_heads": -1, "num_head_channels": 32}  # noqa: RUF012
    latent_format = DemoLatentFormat

    def inpaint_model(self) -> bool:
        """Return False: eight channels are this family's latents, not an inpainting model's."""
        return False

    def process_clip_state_dict(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the text model's weights with the token table spread over the stock vocabulary."""
        token_ids = state_dict.pop(_TOKEN_IDS).long()
        state_dict = super().process_clip_state_dict(state_dict)
        table = state_dict[_TOKEN_TABLE]
        full = table[-1].expand(_VOCABULARY, -1).clone()
        full[token_ids] = table[:-1]
        state_dict[_TOKEN_TABLE] = full
        return state_dict

    def clip_target(self, state_dict: dict | None = None) -> object:
        """Return tokenizer and text model."""
        return comfy.supported_models_base.ClipTarget(comfy.sd1_clip.SD1Tokenizer, DemoClip)


if LocalControlDemo not in comfy.supported_models.models:
    comfy.supported_models.models.append(LocalControlDemo)

NODE_CLASS_MAPPINGS: dict[str, type] = {}
