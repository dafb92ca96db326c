"""Embeddings of prompts, each made once."""

from functools import lru_cache

import torch
from torch import Tensor

from ..models.bases import Base

# Distinct prompts that are kept. Cases of a picture, which share one, come one after another.
_KEPT = 512


class Texts:
    """The embeddings of prompts by a base, made when they are first asked for."""

    def __init__(self, base: Base) -> None:
        self._base = base
        self._of = lru_cache(_KEPT)(self._embed)

    def __call__(self, prompts: list[str]) -> dict[str, Tensor]:
        """Return the embeddings of prompts, stacked, as `Base.encode_text` names them."""
        found = [self._of(prompt) for prompt in prompts]
        return {key: torch.cat([text[key] for text in found]) for key in found[0]}

    def _embed(self, prompt: str) -> dict[str, Tensor]:
        """One alone, so that none depends on the others by its last bits."""
        device = self._base.device
        with self._base.text_encoders_on(device):
            return self._base.encode_text([prompt])
