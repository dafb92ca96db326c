"""Attention for mixed precision on CPUs."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class Fp32Attention:
    """A diffusers attention processor whose softmax part runs in fp32.

    On CPUs the bf16 backward of fused attention with narrow heads takes half of a training step.
    """

    def __call__(
        self,
        attn: Any,  # Attention, whose layers are optional in its annotations
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """hidden_states [B,T,C] -> the same; the parameters are diffusers' names."""
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            projected.unflatten(-1, (attn.heads, -1)).transpose(1, 2).float()
            for projected in (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context))
        )
        with torch.autocast(hidden_states.device.type, enabled=False):
            out = F.scaled_dot_product_attention(query, key, value)
        return attn.to_out[0](out.transpose(1, 2).flatten(2).to(hidden_states.dtype))
