"""Embeddings of prompts, each made once, many at a time."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..models.bases import Base

# Distinct prompts that are embedded and kept at a time.
_KEPT = 512


class Texts:
    """The embeddings of prompts by a base.

    The text encoders are brought to its device for `_KEPT` distinct prompts of those to come at
    once: they are gigabytes, which take longer on their way than to run.
    """

    def __init__(self, base: Base) -> None:
        self._base = base
        self._coming: list[str] = []
        self._places: dict[str, int] = {}
        self._known: dict[str, dict[str, Tensor]] = {}

    def expect(self, prompts: Sequence[str]) -> None:
        """Note which prompts are to come, in this order."""
        self._coming = list(dict.fromkeys(["", *prompts]))
        self._places = {prompt: place for place, prompt in enumerate(self._coming)}

    def __call__(self, prompts: list[str]) -> dict[str, Tensor]:
        """Return the embeddings of prompts, stacked, as `Base.encode_text` names them."""
        if missing := [prompt for prompt in prompts if prompt not in self._known]:
            self._embed(prompts, self._places.get(missing[0], 0))
        found = [self._known[prompt] for prompt in prompts]
        return {key: torch.cat([text[key] for text in found]) for key in found[0]}

    def _embed(self, prompts: Sequence[str], place: int) -> None:
        """Keep the embeddings of prompts, and of those that come from a place on, and no others."""
        wanted = dict.fromkeys(["", *prompts, *self._coming[place : place + _KEPT]])
        known = {prompt: text for prompt, text in self._known.items() if prompt in wanted}
        with self._base.text_encoders_on(self._base.device):
            for prompt in (prompt for prompt in wanted if prompt not in known):
                # One alone, so that none depends on the others by its last bits.
                known[prompt] = self._base.encode_text([prompt])
        self._known = known
