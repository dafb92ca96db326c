"""One batch of examples, as the denoiser is trained on it."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """z0 and noise [B,C,h,w], u [B] in 0..1 (the timestep's draw), context [B,T,D], condition
    [B,Cin,H,W] and mask [B,1,H,W] in 0..1; for SDXL pooled text [B,P] and time ids [B,6];
    perhaps a perturbation [B,C,h,w], which is added to the noise and not to be predicted.

    Until it is on its device, condition and mask are uint8 in 0..255, a quarter of the bytes.
    """

    z0: Tensor
    noise: Tensor
    u: Tensor
    context: Tensor
    condition: Tensor
    mask: Tensor
    pooled: Tensor | None = None
    time_ids: Tensor | None = None
    perturbation: Tensor | None = None

    def to(self, device: torch.device) -> Self:
        """Return the batch on the device that it is used on, where all of it is floats."""
        return self._map(lambda value: _floats(value.to(device, non_blocking=True)))

    def pin_memory(self) -> Self:
        """Return the batch in memory that a GPU reads while others work; loaders ask for it."""
        return self._map(Tensor.pin_memory)

    def repeat(self, count: int) -> Self:
        """Return a batch with every sample `count` times."""
        return self._map(lambda value: value.repeat_interleave(count, 0))

    def text(self) -> dict[str, Tensor]:
        """Return the embeddings as `Base.encode_text` names them."""
        pooled = {} if self.pooled is None else {"pooled": self.pooled}
        return {"context": self.context} | pooled

    def added(self) -> dict[str, Tensor] | None:
        """Return what SDXL's UNet wants beside the context, or None for other bases."""
        if self.pooled is None or self.time_ids is None:
            return None
        return {"text_embeds": self.pooled, "time_ids": self.time_ids}

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        changed: dict[str, Any] = {k: None if v is None else change(v) for k, v in values.items()}
        return type(self)(**changed)


def _floats(value: Tensor) -> Tensor:
    """Return uint8 in 0..255 as floats in 0..1, and all else as it is."""
    return value.float().div_(255) if value.dtype == torch.uint8 else value
